// Page side of worker.js: starts a worker, asks it, and knows when it is gone.

/** A worker that will not answer any more, or an answer that took too long. */
export class WorkerGone extends Error {}

/** A worker that cannot be started, or whose script cannot be loaded: the next one would fare no better. */
export class WorkerMissing extends WorkerGone {}

const ADDRESS = new URL("./worker.js", import.meta.url).href;
/** How long the server may take to say whether the script is still there. */
const PATIENCE_MS = 10_000;

// A worker loaded from an address has a policy of its own; one loaded from a blob is bound by this page's. In a sandboxed frame
// such a worker cannot be a module, but can import one; what it is asked before that has come is kept.
const SCRIPT = URL.createObjectURL(new Blob([`
  const early = [];
  const keep = (event) => {
    event.stopImmediatePropagation();
    early.push(event.data);
  };
  addEventListener("message", keep);
  addEventListener("messageerror", () => postMessage({ event: "crashed", message: "A message to the worker was damaged." }));
  import(${JSON.stringify(ADDRESS)}).then(() => {
    removeEventListener("message", keep);
    for (const data of early) dispatchEvent(new MessageEvent("message", { data }));
  }, (error) => postMessage({ event: "unloaded", message: error.message }));
`], { type: "text/javascript" }));

/** One worker; questions about networks and images are answered in the order they were asked. */
export class WorkerClient {
  #worker;
  #waiting = new Map();
  #next = 1;
  /** @type {WorkerGone | null} */
  #gone = null;
  #timer;
  #onEvent;

  /** @param {(message: { event: string }) => void} onEvent what the worker says without being asked */
  constructor(onEvent = () => {}) {
    this.#onEvent = onEvent;
    this.#worker = new Worker(SCRIPT);
    this.#worker.addEventListener("message", ({ data }) => {
      if (data.event === "unloaded") return this.#unloaded(data.message);
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
    this.#worker.addEventListener("messageerror", () => this.#crashed("A message of the worker was damaged."));
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      if (event.message) this.#crashed(event.message);
      else this.#end(new WorkerMissing("The browser does not let this page start a background worker; a setting or an extension may forbid it."));
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
    if (this.#gone !== null) return Promise.reject(this.#gone);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, limitMs });
      if (this.#waiting.size === 1) this.#watch();
      try {
        this.#worker.postMessage({ id, type, input }, transfer);
      } catch (error) {
        // What was never sent has no answer to wait for.
        this.#waiting.delete(id);
        this.#watch();
        reject(error);
      }
    });
  }

  /** Stops the worker at once; what it still owed is rejected with `reason`. */
  end(reason = "The worker was stopped.") { this.#end(new WorkerGone(reason)); }

  #crashed(message) {
    this.end(message);
    this.#onEvent({ event: "crashed", message });
  }

  #end(error) {
    if (this.#gone !== null) return;
    this.#gone = error;
    this.#worker.terminate();
    clearTimeout(this.#timer);
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  /** Ends with the reason why the script could not be loaded, which browsers do not tell apart. */
  async #unloaded(message) {
    const answer = fetch(ADDRESS, { method: "HEAD", cache: "no-store" }).then(({ status }) => status, () => null);
    const status = await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, PATIENCE_MS, null))]);
    this.#end(new WorkerMissing(
      status === null ? "The server of this page cannot be reached. Try again once it can; what is on the page stays."
      : status === 404 || status === 410 ? "A newer version of this page was put up since it was opened. Load the page again."
      : `A part of this page could not be loaded (${message}). Load the page again.`));
  }

  /** Times the oldest question: the others wait behind it, which may take minutes while shaders compile. */
  #watch() {
    clearTimeout(this.#timer);
    const limitMs = this.#waiting.values().next().value?.limitMs;
    if (limitMs) this.#timer = setTimeout(() => this.end(`No answer within ${limitMs / 1000} s.`), limitMs);
  }
}
