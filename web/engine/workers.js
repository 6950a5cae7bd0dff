// Page side of worker.js: starts a worker, asks it, and knows when it is gone.

/** A worker that will not answer any more, or an answer that took too long. */
export class WorkerGone extends Error {}

// A worker loaded from an address has a policy of its own; one loaded from a blob is bound by this page's.
const SCRIPT = URL.createObjectURL(new Blob(
  [`import ${JSON.stringify(new URL("./worker.js", import.meta.url).href)};`], { type: "text/javascript" }));

/** One worker; questions about networks and images are answered in the order they were asked. */
export class WorkerClient {
  #worker;
  #waiting = new Map();
  #next = 1;
  #gone = null;
  #timer;
  #onEvent;

  /** @param {(message: { event: string }) => void} onEvent what the worker says without being asked */
  constructor(onEvent = () => {}) {
    this.#onEvent = onEvent;
    this.#worker = new Worker(SCRIPT, { type: "module" });
    this.#worker.addEventListener("message", ({ data }) => {
      if (data.event === "crashed" || data.event === "lost") {
        this.end(data.message ?? data.reason);
      }
      if (data.event) return this.#onEvent(data);
      const waiting = this.#waiting.get(data.id);
      if (!waiting) return;
      const oldest = this.#waiting.keys().next().value === data.id;
      this.#waiting.delete(data.id);
      if (oldest) this.#watch();
      if (!data.error) return waiting.resolve(data.result);
      if (!data.error.fatal) return waiting.reject(new Error(data.error.message));
      waiting.reject(new WorkerGone(data.error.message));
      this.end(data.error.message);
    });
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      const message = event.message || "The worker could not be started.";
      this.end(message);
      this.#onEvent({ event: "crashed", message });
    });
  }

  /** Whether the worker still answers. */
  get alive() { return this.#gone === null; }

  /**
   * Asks `type` with `input`; the buffers in `transfer` change hands.
   * @param {number} [limitMs] after which the worker counts as gone, from when all earlier questions are answered
   * @returns {Promise<any>} rejects with WorkerGone when the worker ends first, with Error when it says no
   */
  ask(type, input = {}, transfer = [], limitMs = undefined) {
    if (this.#gone !== null) return Promise.reject(new WorkerGone(this.#gone));
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, limitMs });
      if (this.#waiting.size === 1) this.#watch();
      this.#worker.postMessage({ id, type, input }, transfer);
    });
  }

  /** Stops the worker at once; what it still owed is rejected with `reason`. */
  end(reason = "The worker was stopped.") {
    if (this.#gone !== null) return;
    this.#gone = reason;
    this.#worker.terminate();
    clearTimeout(this.#timer);
    for (const { reject } of this.#waiting.values()) reject(new WorkerGone(reason));
    this.#waiting.clear();
  }

  /** Times the oldest question: the others wait behind it, which may take minutes while shaders compile. */
  #watch() {
    clearTimeout(this.#timer);
    const limitMs = this.#waiting.values().next().value?.limitMs;
    if (limitMs) this.#timer = setTimeout(() => this.end(`No answer within ${limitMs / 1000} s.`), limitMs);
  }
}
