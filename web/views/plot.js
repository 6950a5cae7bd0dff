// The evaluator's plots as SVG: two histograms, ROC, precision and recall. Each is a picture with a name and a caption;
// the caller puts a table of the same numbers beside it.
import { svg } from "./dom.js";

const WIDTH = 440, HEIGHT = 280;
const LEFT = 60, RIGHT = 14, TOP = 32, BOTTOM = 44;

/**
 * Two histograms over each other, as fractions of their sets, with the threshold.
 * @param {{ id: Histogram, ood: Histogram, threshold: number, label: string, names: [string, string] }} data
 * @typedef {{ low: number, high: number, counts: number[], below: number, above: number }} Histogram
 */
export function histogramPlot({ id, ood, threshold, label, names }) {
  const share = ({ counts, below, above }) => {
    const total = counts.reduce((sum, count) => sum + count, below + above) || 1;
    return counts.map((count) => count / total);
  };
  const [idShare, oodShare] = [share(id), share(ood)];
  const top = Math.max(...idShare, ...oodShare, 1e-9) * 1.05;
  const x = scale(id.low, id.high, LEFT, WIDTH - RIGHT), y = scale(0, top, HEIGHT - BOTTOM, TOP);
  const plot = frame("Histograms of the score", x, y, label, "Fraction of the set");
  const outline = (shares) => {
    const step = (id.high - id.low) / shares.length;
    const corners = shares.flatMap((value, i) => [[id.low + i * step, value], [id.low + (i + 1) * step, value]]);
    return path([[id.low, 0], ...corners, [id.high, 0]], x, y);
  };
  for (const [shares, side] of [[oodShare, "ood"], [idShare, "id"]]) {
    plot.append(svg("path", { d: outline(shares), class: `${side}-fill` }), svg("path", { d: outline(shares), class: `${side}-line` }));
  }
  if (threshold >= id.low && threshold <= id.high) {
    plot.append(svg("line", { class: "threshold", x1: x(threshold), x2: x(threshold), y1: TOP, y2: HEIGHT - BOTTOM }));
  }
  legend(plot, names);
  return plot;
}

/**
 * Receiver operating characteristic with the point of the threshold.
 * @param {{ points: { fpr: number, tpr: number }[], at: { fpr: number, tpr: number } | null }} data fractions
 */
export function rocPlot({ points, at }) {
  const [x, y] = unitScales();
  const plot = frame("ROC curve", x, y, "False positive rate", "True positive rate");
  plot.append(
    svg("line", { class: "chance", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }),
    svg("path", { class: "id-line", d: path(points.map(({ fpr, tpr }) => [fpr, tpr]), x, y) }));
  if (at) plot.append(svg("circle", { class: "point", cx: x(at.fpr), cy: y(at.tpr), r: 5 }));
  return plot;
}

/**
 * Precision over recall, once with each side as the positive class.
 * @param {{ prIn: Curve, prOut: Curve, names: [string, string] }} data
 * @typedef {{ recall: number, precision: number }[]} Curve
 */
export function precisionRecallPlot({ prIn, prOut, names }) {
  const [x, y] = unitScales();
  const plot = frame("Precision and recall", x, y, "Recall", "Precision");
  for (const [curve, side] of [[prOut, "ood"], [prIn, "id"]]) {
    plot.append(svg("path", { class: `${side}-line`, d: path(curve.map(({ recall, precision }) => [recall, precision]), x, y) }));
  }
  legend(plot, names);
  return plot;
}

function unitScales() { return [scale(0, 1, LEFT, WIDTH - RIGHT), scale(0, 1, HEIGHT - BOTTOM, TOP)]; }

/** From low .. high to from .. to, with round numbers in between as ticks. */
function scale(low, high, from, to) {
  const span = high - low || 1;
  const place = (value) => from + ((value - low) / span) * (to - from);
  const rough = span / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) + (Math.abs(step / power - 2.5) < 1e-9 ? 1 : 0);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-9; tick += step) ticks.push(tick);
  return Object.assign(place, { ticks: ticks.map((value) => ({ value, text: (value || 0).toFixed(decimals) })) });
}

function frame(title, x, y, labelX, labelY) {
  const plot = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "plot", xmlns: "http://www.w3.org/2000/svg" },
    svg("title", {}, title));
  for (const { value, text } of y.ticks) {
    plot.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, text));
  }
  for (const { value, text } of x.ticks) {
    plot.append(svg("line", { class: "axis", x1: x(value), x2: x(value), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4 }),
      svg("text", { x: x(value), y: HEIGHT - BOTTOM + 17, "text-anchor": "middle" }, text));
  }
  plot.append(
    svg("path", { class: "axis", d: `M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}` }),
    svg("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, labelX),
    svg("text", { transform: `translate(13 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)`, "text-anchor": "middle" }, labelY));
  return plot;
}

/** Both sides' names above the plot, the first in the colour of the in-distribution side. */
function legend(plot, names) {
  names.forEach((name, i) => {
    const x = LEFT + (i * (WIDTH - LEFT - RIGHT)) / 2, y = 16;
    const short = name.length > 24 ? `${name.slice(0, 23)}…` : name;
    plot.append(svg("line", { class: i === 0 ? "id-line" : "ood-line", x1: x, x2: x + 18, y1: y - 4, y2: y - 4 }),
      svg("text", { x: x + 24, y }, short));
  });
}

function path(points, x, y) {
  return points.map(([px, py], i) => `${i === 0 ? "M" : "L"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join("");
}
