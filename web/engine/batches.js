// How many images a network gets at once: as many as the device's speed and memory allow, on a GPU in few different sizes.

/** A GPU gets batches of these sizes only, so that it compiles few shaders; the last of a run is padded. */
const SHAPES = [1, 8, 32, 128];
/** The CPU gains nothing by larger batches, and has a worker with the memory for one on each core. */
const CPU_MOST = 32;
/** A batch should take about 0.3 s: long enough to be efficient, short enough to cancel and to share. */
const BATCH_MS = { grow: 450, shrink: 1500 };

/** The present size of a batch, and the sizes for which the device has compiled. */
export class Batches {
  /** Places in SHAPES; the first is never beyond the second. */
  #present = 1;
  #largest = SHAPES.length - 1;
  #compiled = new Set();

  /** Most images of the next batch. */
  sizeFor(backend) { return backend === "cpu" ? Math.min(CPU_MOST, SHAPES[this.#present]) : SHAPES[this.#present]; }

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
   * The shape for `count` images. The CPU compiles nothing and takes any; on a GPU one that is compiled already serves a smaller
   * rest, unless it is one that turned out too slow.
   */
  shapeFor(count, backend) {
    if (backend === "cpu") return count;
    const fitting = SHAPES.filter((shape) => shape >= count && shape <= SHAPES[this.#present]);
    return fitting.find((shape) => this.#compiled.has(shape)) ?? fitting[0];
  }

  /** Adapts the size to a batch of `shape` that took `ms`. */
  adapt(shape, ms) {
    const size = SHAPES[this.#present], next = SHAPES[this.#present + 1];
    // One that was asked for before the size was made smaller.
    if (shape > size) return;
    if (shape === size && this.#present < this.#largest && (ms * next) / shape <= BATCH_MS.grow) this.#present += 1;
    if (ms > BATCH_MS.shrink) this.#present = below(shape);
  }

  /** Memory ran out with `shape`: from now on batches are smaller. */
  forbid(shape) {
    this.#largest = Math.min(this.#largest, below(shape));
    this.#present = Math.min(this.#present, this.#largest);
  }
}

/** The place of the largest size below `shape`, or of the least. */
function below(shape) { return Math.max(0, SHAPES.filter((size) => size < shape).length - 1); }
