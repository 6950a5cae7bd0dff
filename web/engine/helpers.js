// Further workers beside the first on the CPU: one for each core, as far as memory and work warrant.
//
// In: what a worker takes and how much is to be done. Out: runners, each of which has a worker with the networks in it. One that
// fails for good is not replaced; the others do its work.

/** More cores than this are left to the visitor. */
const MOST = 8;
/** All workers together take at most this share of the device's memory. */
const SHARE = 1 / 4;
/** The device's memory in GiB where the browser does not say. */
const UNKNOWN = 4;
/** Until a worker is ready it could have scored about so many images. */
const START = 16;

/**
 * Most workers that the device bears.
 * @param {number} bytes that one of them takes
 * @param {{ hardwareConcurrency?: number, deviceMemory?: number }} device as the browser tells it
 */
export function workersAllowed(bytes, { hardwareConcurrency = 1, deviceMemory = UNKNOWN } = navigator) {
  const room = SHARE * deviceMemory * 2 ** 30;
  return Math.max(1, Math.min(MOST, hardwareConcurrency, Math.floor(room / bytes)));
}

/** Most workers that are of use for so many images. */
export function workersWorth(images) { return Math.max(1, Math.floor(images / START)); }

/** The workers beside the first. */
export class Helpers {
  /** Bytes that a worker takes, the first one too, as its last answer told; 0 while that is unknown. */
  bytes = 0;
  #all = new Set();
  /** How many fewer there are to be, since so many failed. */
  #fewer = 0;
  #make;
  #run;

  /**
   * @param {(failed: () => void) => import("./runner.js").Runner} make failed is called when it gives up
   * @param {(helper: import("./runner.js").Runner) => void} run lets one work that is ready, for as long as `has` says so
   */
  constructor(make, run) { [this.#make, this.#run] = [make, run]; }

  get count() { return this.#all.size; }

  has(helper) { return this.#all.has(helper); }

  /** Ends those for which there is no memory, and calls those that so many images are worth. */
  fit(images) {
    const allowed = this.bytes && Math.max(0, workersAllowed(this.bytes) - 1 - this.#fewer);
    for (const helper of [...this.#all].slice(allowed)) this.#end(helper);
    while (this.#all.size < Math.min(allowed, workersWorth(images) - 1)) this.#call();
  }

  /** Ends one that failed, and has one fewer from now on. */
  giveUp(helper) {
    if (this.#all.has(helper)) this.#fewer += 1;
    this.#end(helper);
  }

  /** Ends all, and has one fewer for each. */
  giveUpAll() { this.#all.forEach((helper) => this.giveUp(helper)); }

  /** Ends all; others may be called. */
  dismiss() {
    this.#all.forEach((helper) => this.#end(helper));
    this.bytes = 0;
    this.forgive();
  }

  /** Those that failed count no more. */
  forgive() { this.#fewer = 0; }

  async #call() {
    const helper = this.#make(() => this.giveUp(helper));
    this.#all.add(helper);
    // Images are not to wait for its start.
    await helper.patiently(() => null).catch(() => this.giveUp(helper));
    this.#run(helper);
  }

  #end(helper) {
    this.#all.delete(helper);
    helper.end();
  }
}
