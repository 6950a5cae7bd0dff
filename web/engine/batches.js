// How many images a network gets at once: as many as the device's speed and memory allow, in few different sizes.

/** Batches come in these sizes only, so that the device compiles few shaders; the last of a run is padded. */
const SHAPES = [1, 8, 32, 128];
/** A batch should take about 0.3 s: long enough to be efficient, short enough to cancel and to share. */
const BATCH_MS = { grow: 450, shrink: 1500 };

/** The present size of a batch, and the sizes for which the device has compiled. */
export class Batches {
  /** Places in SHAPES; the first is never beyond the second. */
  #present = 1;
  #largest = SHAPES.length - 1;
  #compiled = new Set();

  /** Most images of the next batch. */
  get size() { return SHAPES[this.#present]; }

  /** Most images that a batch may come to have. */
  get largest() { return SHAPES[this.#largest]; }

  /** A small size, which no device takes long for. */
  get modest() { return SHAPES[Math.min(this.#largest, 1)]; }

  /** A new device or other shaders: nothing is compiled. */
  forgetCompiled() { this.#compiled.clear(); }

  /** The device has taken a batch of `shape`. */
  noteCompiled(shape) { this.#compiled.add(shape); }

  isCompiled(shape) { return this.#compiled.has(shape); }

  /**
   * The shape for `count` images. One that is compiled already serves a smaller rest, unless it is one that turned out too slow;
   * the CPU compiles none.
   */
  shapeFor(count, backend) {
    const fitting = SHAPES.filter((shape) => shape >= count && shape <= this.size);
    return backend === "webgpu" && fitting.find((shape) => this.#compiled.has(shape)) || fitting[0];
  }

  /** Adapts the size to a batch of `shape` that took `ms`. */
  adapt(shape, ms) {
    const index = SHAPES.indexOf(shape);
    if (index !== this.#present) return;
    const next = SHAPES[index + 1];
    if (next && index < this.#largest && (ms * next) / shape <= BATCH_MS.grow) this.#present = index + 1;
    if (ms > BATCH_MS.shrink && index > 0) this.#present = index - 1;
  }

  /** Memory ran out with `shape`: from now on batches are smaller. */
  forbid(shape) {
    this.#largest = Math.max(0, SHAPES.indexOf(shape) - 1);
    this.#present = Math.min(this.#present, this.#largest);
  }
}
