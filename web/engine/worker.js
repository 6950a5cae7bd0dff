// The page's only worker script, in one of three roles, each in a worker of its own:
//   runner   owns the device and the networks: logits and input gradients;
//   reader   reads dropped files for one import job and ends with it;
//   analyst  arithmetic: scores from logits or from files of scores, metrics, intervals, comparisons,
//            curves, generated images.
//
// In: { id, type, input }. Out: { id, result } or { id, error: { message, fatal } }, and { event, ... } without an
// id for what nobody asked for. `fatal` means that this worker is of no more use.
import { IMAGE_BYTES } from "./imageset.js";
import { probe, usage, watchDevices } from "./webgpu.js";

/** Images in one message of the reader; small enough for the first ones to show at once. */
const READ_BATCH = 128;

/** What wasm-bindgen made of the module, and the memory of this worker's instance of it. */
let eloc = null, memory = null;
let detector = null;
let ensemble = null;

/** These answer at once, also while the device is busy; everything else waits for its turn. */
const IMMEDIATE = new Set(["probe", "debug-lose-device", "debug-fetch"]);

const ANSWERS = {
  probe,
  async start({ module, name }) {
    eloc = await import(`../${name}.js`).catch(unloaded);
    ({ memory } = await eloc.default({ module_or_path: module }));
    return { version: eloc.version(), scoreNames: eloc.scoreNames() };
  },

  // runner
  async open({ backend }) {
    detector = await eloc.Detector.open(backend);
    return { adapter: usage.adapter };
  },
  manifest({ bytes }) { detector.setManifest(bytes); },
  fold({ number, bytes }) { detector.addFold(number, bytes); },
  async outputs({ fold, images, odin }) {
    const before = usage.dispatches;
    const started = performance.now();
    const { logits, perturbed } = await detector.outputs(fold, images, odin);
    const ms = performance.now() - started;
    return { logits, perturbed, ms, dispatches: usage.dispatches - before, pipelines: usage.pipelines, memory: memory.buffer.byteLength };
  },
  async explain({ fold, image, odin }) {
    const { logits, perturbed, gradient, step } = await detector.explain(fold, image, odin);
    return { logits, perturbed, gradient, step };
  },
  "debug-lose-device"() { usage.device?.destroy(); },
  "debug-fetch"({ url }) {
    return fetch(url, { mode: "no-cors" }).then(() => "fetched", (error) => `refused: ${error.message}`);
  },

  // reader
  read({ file, name }) { readFile(file, name); },

  // analyst
  ensemble({ bytes }) {
    const next = new eloc.Ensemble(bytes);
    ensemble?.free();
    ensemble = next;
    return { selfTest: ensemble.selfTest };
  },
  scores({ outputs, temperature }) { return ensemble.scores(outputs, temperature); },
  probabilities({ outputs }) { return ensemble.probabilities(outputs); },
  report({ input }) { return ensemble.report(input); },
  metrics({ pairs, definition }) {
    return pairs.map(({ id, ood }) => attempt(() => eloc.metrics(id, ood, definition)));
  },
  intervals({ id, ood, definition, resamples, seed }) { return eloc.intervals(id, ood, definition, resamples, seed); },
  compare({ pair, baseline, definition, resamples, seed }) {
    return eloc.compare(pair.id, baseline.id, pair.ood, baseline.ood, definition, resamples, seed);
  },
  curves({ id, ood, bins, points }) { return eloc.curves(id, ood, bins, points); },
  async scoreFile({ file, name }) { return eloc.scoreFile(name, await bytesOf(file, name)); },
  async scorePairs({ id, ood, known }) {
    const read = (files) => Promise.all(files.map(async ({ file, ...rest }) => ({ ...rest, bytes: await bytesOf(file, rest.name) })));
    return eloc.scorePairs(await read(id), await read(ood), known);
  },
  tableAs({ table, format }) { return eloc.tableAs(table, format); },
  definitions() { return eloc.definitions(); },
  generate({ kind, count, seed }) { return eloc.generate(kind, count, seed); },
};

async function bytesOf(file, name) {
  const buffer = await file.arrayBuffer().catch((error) => { throw new Error(`${name}: ${error.message}`); });
  return new Uint8Array(buffer);
}

/** Without its script a worker is of no use; the page finds out why that is missing. */
function unloaded({ message }) {
  self.postMessage({ event: "unloaded", message });
  return new Promise(() => {});
}

/** One score that has no metrics must not take those of the others with it. */
function attempt(work) {
  try {
    return work();
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) throw error;
    return { error: error.message };
  }
}

function readFile(file, name) {
  let labels = [], classNames = [], pixels = [];
  const flush = () => {
    if (labels.length === 0) return;
    const packed = new Uint8Array(labels.length * IMAGE_BYTES);
    pixels.forEach((image, i) => packed.set(image, i * IMAGE_BYTES));
    self.postMessage({ event: "images", labels, classNames, pixels: packed }, [packed.buffer]);
    [labels, classNames, pixels] = [[], [], []];
  };
  try {
    eloc.readFile(file, name, {
      image(label, image, className) {
        labels.push(label);
        classNames.push(className);
        pixels.push(image);
        if (labels.length >= READ_BATCH) flush();
      },
      weights(label, bytes) { self.postMessage({ event: "weights", label, bytes }, [bytes.buffer]); },
      problem(label, reason) { self.postMessage({ event: "problem", label, reason }); },
    });
  } finally {
    flush();
  }
}

/**
 * A trap or a lost device leaves the module dead; everything else is an answer like any other. The loss of a device shows
 * in many ways, often before the browser says so: whatever goes wrong while one computes counts.
 */
function isFatal(error, type) {
  if (usage.device && (type === "outputs" || type === "explain")) return true;
  return error instanceof WebAssembly.RuntimeError || error instanceof RangeError ||
    /unreachable|poison|device (was|is) lost/i.test(error?.message ?? "");
}

async function answer({ id, type, input }) {
  try {
    const result = await ANSWERS[type](input);
    self.postMessage({ id, result });
  } catch (error) {
    // Only the first line is for visitors; the others are the causes of causes.
    const [message] = (error?.message ?? String(error)).split("\n");
    self.postMessage({ id, error: { message, fatal: isFatal(error, type) } });
  }
}

let turn = Promise.resolve();
self.addEventListener("message", ({ data }) => {
  if (IMMEDIATE.has(data.type)) answer(data);
  else turn = turn.then(() => answer(data));
});

// A panic in a future never settles its promise: it ends up here instead.
self.addEventListener("error", (event) => self.postMessage({ event: "crashed", message: event.message }));
self.addEventListener("unhandledrejection", (event) => {
  self.postMessage({ event: "crashed", message: event.reason?.message ?? String(event.reason) });
});

watchDevices({
  lost: (reason) => self.postMessage({ event: "lost", reason }),
  failed: (message, outOfMemory) => self.postMessage({ event: "gpu-error", message, outOfMemory }),
});
