// Pictures of things that networks trained on photographs may know, drawn by this file alone: a ship, an aeroplane, a lorry and a car,
// no two alike. What the networks make of them is for the networks to say.
//
// Out: [n][3][32][32], the page's form of images.

const SIDE = 32;
/** Each pixel is the mean of so many by so many points. */
const POINTS = 4;

/** A way to draw each kind of thing: given random numbers from 0 to 1, what colour is at each point. */
const KINDS = { ship, airplane, truck, automobile };

/**
 * Drawings, of which each is the same for the same kind and seed.
 * @param {[kind: string, seed: number][]} wanted
 */
export function drawings(wanted) {
  const images = new Uint8Array(wanted.length * 3 * SIDE * SIDE);
  wanted.forEach(([kind, seed], n) => {
    const random = randomFrom(seed);
    const paint = KINDS[kind](random), noise = grain(random);
    for (let y = 0; y < SIDE; y++) {
      for (let x = 0; x < SIDE; x++) {
        const sum = [0, 0, 0];
        for (let p = 0; p < POINTS * POINTS; p++) {
          const colour = paint((x + ((p % POINTS) + 0.5) / POINTS) / SIDE, (y + (Math.floor(p / POINTS) + 0.5) / POINTS) / SIDE);
          for (let c = 0; c < 3; c++) sum[c] += colour[c];
        }
        for (let c = 0; c < 3; c++) {
          const value = sum[c] / (POINTS * POINTS) + noise(x, y);
          images[((n * 3 + c) * SIDE + y) * SIDE + x] = Math.max(0, Math.min(255, Math.round(value)));
        }
      }
    }
  });
  return images;
}

/** A ship on the sea, from the side. */
function ship(random) {
  const between = range(random);
  const horizon = between(0.45, 0.62), deck = between(0.52, 0.6), keel = deck + between(0.12, 0.18);
  const left = between(0.06, 0.16), right = between(0.84, 0.94), bow = between(0.06, 0.12);
  const hull = pick(random, [[40, 44, 60], [120, 30, 28], [30, 60, 100], [215, 215, 212], [60, 60, 62]]);
  const tower = between(0.55, 0.7), height = between(0.14, 0.24), white = between(205, 240);
  const sky = sheet(random, [150, 185, 225], [225, 232, 240], 10), sea = sheet(random, [60, 100, 140], [30, 62, 100], 22, 6);
  const mast = between(0.3, 0.45), boxes = Math.floor(between(0, 4)), box = pick(random, [[170, 60, 40], [60, 110, 150], [200, 160, 60]]);
  return (x, y) => {
    const slope = (y - deck) / (keel - deck);
    if (slope >= 0 && slope <= 1 && x > left + 0.08 * slope && x < right - bow * slope) {
      return slope > 0.78 ? [120, 45, 40] : shade(hull, 1 - 0.25 * slope);
    }
    if (x > tower && x < tower + 0.16 && y < deck && y > deck - height) {
      const pane = Math.floor((deck - y) * 22) % 2 === 1 && Math.floor((x - tower) * 40) % 2 === 1;
      return pane ? [70, 80, 95] : shade([white, white, white], 0.9 + 0.1 * (x - tower) / 0.16);
    }
    if (x > tower + 0.05 && x < tower + 0.1 && y <= deck - height && y > deck - height - 0.08) return [70, 60, 60];
    for (let i = 0; i < boxes; i++) {
      if (x > left + 0.1 + 0.12 * i && x < left + 0.2 + 0.12 * i && y < deck && y > deck - 0.09) return shade(box, 0.8 + 0.12 * (i % 3));
    }
    if (Math.abs(x - mast) < 0.008 && y < deck && y > deck - height - 0.1) return [90, 90, 92];
    return y < horizon ? sky(x, y / horizon) : sea(x, (y - horizon) / (1 - horizon));
  };
}

/** An aeroplane in the sky, from the side. */
function airplane(random) {
  const between = range(random);
  const turn = between(-0.3, 0.12), cx = between(0.46, 0.54), cy = between(0.45, 0.55), size = between(0.9, 1.1);
  const sky = sheet(random, [95, 145, 205], [190, 215, 240], 8), body = between(205, 240);
  const tail = pick(random, [[40, 70, 140], [170, 40, 40], [200, 200, 205], [60, 60, 70]]);
  const flipped = random() < 0.5 ? -1 : 1;
  return (px, py) => {
    const dx = (px - cx) / size * flipped, dy = (py - cy) / size;
    const x = dx * Math.cos(turn) + dy * Math.sin(turn), y = dy * Math.cos(turn) - dx * Math.sin(turn);
    // Near wing and engine, before the body.
    if (inside(x, y, [[-0.05, 0.02], [0.08, 0.02], [-0.16, 0.2], [-0.22, 0.2]])) return shade([body, body, body + 6], 0.72);
    if (oval(x - 0.0, y - 0.1, 0.06, 0.025)) return [120, 122, 130];
    if (oval(x, y, 0.43, 0.055 + 0.015 * x)) {
      if (Math.abs(y + 0.012) < 0.008 && x > -0.3 && x < 0.34 && Math.floor(x * 40) % 2 === 0) return [90, 100, 120];
      return shade([body, body, body + 8], y > 0.015 ? 0.78 : 1);
    }
    if (inside(x, y, [[-0.42, -0.18], [-0.34, -0.18], [-0.24, -0.03], [-0.4, -0.02]])) return tail;
    if (inside(x, y, [[-0.44, -0.03], [-0.3, -0.02], [-0.42, 0.03], [-0.48, 0.02]])) return shade([body, body, body], 0.85);
    if (inside(x, y, [[-0.02, -0.03], [0.09, -0.03], [-0.06, -0.14], [-0.11, -0.14]])) return shade([body, body, body], 0.9);
    return sky(px, py);
  };
}

/** A lorry on a road, from the side. */
function truck(random) {
  const between = range(random);
  const ground = between(0.72, 0.78), top = between(0.2, 0.3), left = between(0.05, 0.1), cab = between(0.66, 0.72), right = between(0.9, 0.95);
  const cargo = pick(random, [[225, 225, 222], [200, 60, 45], [50, 90, 160], [215, 180, 70]]), front = pick(random, [[200, 50, 40], [40, 80, 150], [230, 230, 228], [60, 110, 70]]);
  const back = sheet(random, [175, 195, 215], [120, 140, 110], 24), road = sheet(random, [120, 120, 120], [90, 90, 92], 12, 4);
  const wheel = between(0.075, 0.09), flipped = random() < 0.5, floor = ground - 0.06;
  const wheels = [left + 0.12, left + 0.3, cab + 0.12];
  return (px, y) => {
    const x = flipped ? 1 - px : px;
    for (const wx of wheels) {
      if (oval(x - wx, y - ground, wheel * 0.5, wheel * 0.5)) return [150, 150, 152];
      if (oval(x - wx, y - ground, wheel, wheel)) return [28, 28, 30];
    }
    if (x > left && x < cab - 0.02 && y > top && y < floor) return shade(cargo, (y - top < 0.02 ? 1.1 : 1) - 0.12 * (y - top));
    if (x >= cab && x < right && y > top + 0.14 && y < floor) {
      const window = x > cab + 0.07 && y > top + 0.18 && y < top + 0.3;
      return window ? [70, 90, 110] : shade(front, 1 - 0.2 * (y - top));
    }
    if (x > left && x < right && y >= floor && y < floor + 0.05) return [50, 50, 52];
    return y < ground + 0.03 ? back(px, y / ground) : road(px, (y - ground) / (1 - ground));
  };
}

/** A car on a road, from the side. */
function automobile(random) {
  const between = range(random);
  const ground = between(0.68, 0.74), belt = ground - between(0.2, 0.24), roof = belt - between(0.14, 0.18);
  const left = between(0.05, 0.1), right = between(0.9, 0.95), wheel = between(0.085, 0.1);
  const colour = pick(random, [[190, 30, 30], [30, 70, 150], [200, 200, 205], [40, 40, 45], [230, 190, 50], [235, 235, 235]]);
  const back = sheet(random, [185, 200, 215], [140, 150, 130], 20), road = sheet(random, [130, 130, 130], [100, 100, 102], 10, 4);
  const flipped = random() < 0.5, cabin = between(0.2, 0.28);
  return (px, y) => {
    const x = flipped ? 1 - px : px;
    for (const wx of [left + 0.19, right - 0.19]) {
      if (oval(x - wx, y - ground, wheel * 0.55, wheel * 0.55)) return [170, 170, 174];
      if (oval(x - wx, y - ground, wheel, wheel)) return [24, 24, 26];
    }
    if (inside(x, y, [[cabin + 0.03, belt], [cabin + 0.12, roof + 0.02], [0.66, roof + 0.02], [0.76, belt]]) && Math.abs(x - 0.5) > 0.012) return [60, 75, 92];
    if (inside(x, y, [[cabin - 0.02, belt + 0.01], [cabin + 0.1, roof], [0.68, roof], [0.81, belt + 0.01]])) return shade(colour, 1.05);
    if (inside(x, y, [[left, belt + 0.05], [left + 0.06, belt], [right - 0.14, belt], [right, belt + 0.07], [right, ground + 0.01], [left, ground + 0.01]])) {
      if (x > right - 0.05 && y < belt + 0.12) return [245, 240, 200];
      if (x < left + 0.03 && y < belt + 0.12) return [200, 40, 30];
      return shade(colour, 1 - 0.9 * Math.max(0, y - belt - 0.06));
    }
    if (y > ground + 0.03 && oval(x - 0.5, y - ground - wheel, 0.46, 0.03)) return [50, 50, 52];
    return y < ground ? back(px, y / ground) : road(px, (y - ground) / (1 - ground));
  };
}

/** A sheet of colour from `above` to `below`, with soft unevenness of up to `rough`, of waves `flat` times as wide as high. */
function sheet(random, above, below, rough, flat = 1) {
  const tint = 0.88 + 0.24 * random();
  const waves = Array.from({ length: 6 }, () => {
    const frequency = 4 + 22 * random(), angle = Math.PI * 2 * random();
    return [frequency * Math.cos(angle) / flat, frequency * Math.sin(angle), Math.PI * 2 * random()];
  });
  return (x, y) => {
    const uneven = waves.reduce((sum, [fx, fy, phase]) => sum + Math.sin(fx * x + fy * y + phase), 0) * (rough / 3);
    return above.map((value, c) => tint * (value + (below[c] - value) * y) + uneven);
  };
}

/** Fine grain, as photographs have it. */
function grain(random) {
  const strength = 2 + 4 * random(), values = Float32Array.from({ length: SIDE * SIDE }, () => strength * (random() + random() - 1));
  return (x, y) => values[y * SIDE + x];
}

const range = (random) => (low, high) => low + (high - low) * random();
const pick = (random, items) => items[Math.floor(random() * items.length)];
const shade = (colour, by) => colour.map((value) => value * by);
const oval = (x, y, width, height) => (x / width) ** 2 + (y / height) ** 2 < 1;

/** Whether a point lies in a polygon. */
function inside(x, y, corners) {
  let within = false;
  corners.forEach(([ax, ay], i) => {
    const [bx, by] = corners[(i + 1) % corners.length];
    if ((ay > y) !== (by > y) && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
  });
  return within;
}

/** Random numbers from 0 to 1, the same for the same seed: mulberry32 by Tommy Ettinger. */
function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
