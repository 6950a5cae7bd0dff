// A growing list of images with what the networks said about each: the page's memory of its work.
//
// It lives in the page, so that a new worker can go on where a lost one stopped. Pixels take 3 KB an image, logits of five
// folds of ten classes 320 bytes.

/** Bytes of one image: planar RGB, [3][32][32]. */
export const IMAGE_BYTES = 3072;
/** Most images in the page, over all sets. */
export const IMAGE_LIMIT = 100_000;
/** Images per block of pixels: memory grows by 0.75 MB at a time and is never copied. */
const CHUNK = 256;

/** Of all sets, so that no two share one. */
let generations = 0;

/** Images of one origin: the gallery's, or one side of the evaluator. */
export class ImageSet {
  labels = [];
  /** @type {(string | undefined)[]} */
  classNames = [];
  #chunks = [];

  /** @param {string} name as the report and the command line spell it */
  constructor(name) {
    this.name = name;
    this.clearOutputs([]);
  }

  get count() { return this.labels.length; }

  /** Forgets the images, too. */
  clear() {
    this.labels = [];
    this.classNames = [];
    this.#chunks = [];
    this.clearOutputs(this.folds);
  }

  /**
   * Appends images. `pixels` is [n][3072].
   * @param {string[]} labels n file names
   * @param {(string | undefined)[]} classNames n true classes, where known
   */
  add(labels, classNames, pixels) {
    for (let i = 0; i < labels.length; i++) {
      const index = this.count;
      if (index % CHUNK === 0) this.#chunks.push(new Uint8Array(CHUNK * IMAGE_BYTES));
      const image = pixels.subarray(i * IMAGE_BYTES, (i + 1) * IMAGE_BYTES);
      this.#chunks.at(-1).set(image, (index % CHUNK) * IMAGE_BYTES);
      this.labels.push(labels[i]);
      this.classNames.push(classNames?.[i]);
    }
    this.#fit();
  }

  /** Appends images that were made here, named as the command line names them. Arguments as for add. */
  addMade(kind, classNames, pixels) {
    this.add(Array.from({ length: pixels.length / IMAGE_BYTES }, (_, i) => `${kind} ${i}`), classNames, pixels);
  }

  /** Pixels of image `index`, [3][32][32]; a view, not a copy. */
  pixels(index) {
    const offset = (index % CHUNK) * IMAGE_BYTES;
    return this.#chunks[Math.floor(index / CHUNK)].subarray(offset, offset + IMAGE_BYTES);
  }

  /** Copies images start .. start + count into [shape][3072]; the rest of the shape repeats the last image. */
  gather(start, count, shape) {
    const batch = new Uint8Array(shape * IMAGE_BYTES);
    for (let i = 0; i < shape; i++) batch.set(this.pixels(start + Math.min(i, count - 1)), i * IMAGE_BYTES);
    return batch;
  }

  /**
   * Forgets all outputs and scores.
   * @param {{ number: number, kept: number[] }[]} folds of the ensemble that scores from now on, in its order
   */
  clearOutputs(folds) {
    this.folds = folds;
    /** Another number whenever outputs, and perhaps images, were forgotten: what was asked before is out of date. */
    this.generation = ++generations;
    /** Of each image: how many folds, in the ensemble's order, have seen it. */
    this.done = new Uint8Array(0);
    /** Of each image: whether a worker has it in hand. */
    this.taken = new Uint8Array(0);
    /** Network passes done, one per image and fold: the sum of `done`. */
    this.passes = 0;
    /** Seconds that the networks worked for them. */
    this.seconds = 0;
    /** Of each image: how many folds its scores below are made of; it follows `done` a moment later. */
    this.scored = new Uint8Array(0);
    this.logits = folds.map(() => new Float32Array(0));
    this.perturbed = folds.map(() => new Float32Array(0));
    this.foldScores = folds.map(() => new Float64Array(0));
    /** @type {Record<string, Float64Array>} by the name of the score */
    this.scores = {};
    this.classes = new Uint16Array(0);
    this.probabilities = new Float32Array(0);
    this.#fit();
  }

  /** A worker takes images start .. start + count in hand, until outputs or `giveBack`. */
  take(start, count) { this.taken.fill(1, start, start + count); }

  /** Nobody has these images in hand any more. */
  giveBack(start, count) { this.taken.fill(0, start, start + count); }

  /** Stores one fold's outputs of images start .. start + count; they are [n][kept classes] and may be padded. */
  setOutputs(position, start, count, { logits, perturbed }) {
    const width = this.folds[position].kept.length;
    this.logits[position].set(logits.subarray(0, count * width), start * width);
    this.perturbed[position].set(perturbed.subarray(0, count * width), start * width);
    for (let i = start; i < start + count; i++) this.passes += position + 1 - this.done[i];
    this.done.fill(position + 1, start, start + count);
  }

  /** Outputs of the first `folds` folds for images start .. end, copied, as the module takes them. */
  outputs(folds, start = 0, end = this.count) {
    return this.folds.slice(0, folds).map(({ number, kept }, position) => ({
      fold: number,
      logits: this.logits[position].slice(start * kept.length, end * kept.length),
      perturbed: this.perturbed[position].slice(start * kept.length, end * kept.length),
    }));
  }

  /** Stores the answer of Ensemble.scores for images start .. start + n, made of the first `folds` folds. */
  setScores(folds, start, { scores, foldScores, classes, probabilities }) {
    for (const [name, values] of Object.entries(scores)) {
      this.scores[name] ??= grown(new Float64Array(0), this.done.length);
      this.scores[name].set(values, start);
    }
    foldScores.forEach((values, position) => this.foldScores[position].set(values, start));
    this.classes.set(classes, start);
    this.probabilities.set(probabilities, start);
    this.scored.fill(folds, start, start + classes.length);
  }

  /** How many images the first `folds` folds have scored without a gap from the start on. */
  prefix(folds) {
    let n = 0;
    while (n < this.count && this.scored[n] >= folds) n += 1;
    return n;
  }

  #fit() {
    if (this.done.length >= this.count) return;
    const capacity = Math.max(CHUNK, this.count, 2 * this.done.length);
    for (const key of ["done", "taken", "scored", "classes", "probabilities"]) this[key] = grown(this[key], capacity);
    for (const name in this.scores) this.scores[name] = grown(this.scores[name], capacity);
    this.foldScores = this.foldScores.map((values) => grown(values, capacity));
    for (const key of ["logits", "perturbed"]) {
      this[key] = this[key].map((values, i) => grown(values, capacity * this.folds[i].kept.length));
    }
  }
}

function grown(values, length) {
  const larger = new values.constructor(length);
  larger.set(values);
  return larger;
}
