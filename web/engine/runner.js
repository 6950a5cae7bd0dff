// Runs the networks in a worker on WebGPU or on the CPU: starts it, replaces one that is lost, and leaves WebGPU for the CPU where
// that does not work.
//
// In: work that asks the worker. Out: its answers. After three losses without progress the CPU takes over; when that is lost
// as often, or no worker can be loaded, it gives up and says why in `failure`.
import { WorkerClient, WorkerGone, WorkerMissing } from "./workers.js";

const LOSSES_ALLOWED = 3;
/** Drivers can take long to open a device, and some never do. */
const OPEN_LIMIT_MS = 60_000;

/** The worker that runs the networks, whichever it is at present. */
export class Runner {
  /** @type {"webgpu" | "cpu"} */
  backend;
  /** The graphics card as webgpu.js describes it, where there is one. */
  adapter = null;
  version = "";
  /** Which of the two modules runs, by the name of its file. */
  program = "";
  scoreNames = [];
  /** Why it gave up, or null; who sets it back to null wants another try. */
  failure = null;

  #program;
  #stages;
  #equip;
  #on;
  #client = null;
  #starting = null;
  #losses = 0;
  #asking = 0;
  /** Whether the visitor asked for this backend: then WebGPU in software is taken, too. */
  #insists;

  /**
   * @param {{ program: Promise<import("./download.js").Program>, backend: "webgpu" | "cpu" | null,
   *   stages: Record<string, number>, equip: (client: WorkerClient) => Promise<void> }} parts backend is what the visitor asks for, null what is best here; stages
   *   takes the milliseconds of a start; equip gives a new worker what it must know
   * @param {{ changed: () => void, notice: (text: string, kind: string) => void, failed: (message: string) => void, moved: () => void,
   *   spoilt: () => void }} on moved to another backend; spoilt: nothing that the networks said so far counts
   */
  constructor({ program, backend, stages, equip }, on) {
    [this.#program, this.#stages, this.#equip, this.#on] = [program, stages, equip, on];
    this.backend = backend ?? "webgpu";
    this.#insists = backend !== null;
    // A start that fails is told to the first question that needs it.
    this.#ready().catch(() => {});
  }

  /** Asks the worker as it is, for those who do not mind its loss. */
  async ask(type, input) { return (await this.#ready()).ask(type, input); }

  /** Does `work` with a worker, and once more with a new one when it is lost, within limits. */
  async patiently(work) {
    for (;;) {
      try {
        return await this.attempt(work);
      } catch (error) {
        if (!(error instanceof WorkerGone) || this.failure) throw error;
      }
    }
  }

  /**
   * Does `work` with the present worker; when that is lost by it, makes room for a new one. Throws what failed.
   * @param {(client: WorkerClient) => any} work
   * @param {(error: Error) => boolean} [ease] for work that must be done: whether it asks for less from now on. Otherwise an error
   *   that leaves the worker alive is the end.
   */
  async attempt(work, ease = null) {
    const ready = this.#ready();
    const client = this.#client;
    this.#asking += 1;
    try {
      await ready;
      return await work(client);
    } catch (error) {
      // A worker that was replaced on purpose takes its questions with it; that is no loss.
      if (client === this.#client && (ease || error instanceof WorkerGone)) this.#recover(error, ease);
      throw error;
    } finally {
      this.#asking -= 1;
    }
  }

  /** The networks have answered: the losses before count no more. */
  progressed() { this.#losses = 0; }

  /** Goes on on the backend that the visitor asks for. */
  async move(backend) {
    this.#insists = true;
    this.#leave(backend);
    this.failure = null;
    // A start that was overtaken by another choice is no error.
    await this.patiently(() => null);
    this.#on.changed();
  }

  /** Gives up. */
  fail(error) {
    this.failure = error.message;
    this.#on.failed(error.message);
    this.#on.changed();
  }

  /** Ends for good, with what is under way. */
  end() {
    this.failure = "The worker is not needed any more.";
    this.#drop(this.failure);
  }

  #recover(error, ease) {
    const eased = ease?.(error);
    if (!eased && !(error instanceof WorkerGone)) return this.fail(error);
    this.#drop(error.message);
    if (eased) return;
    if (error instanceof WorkerMissing) return this.fail(error);
    this.#losses += 1;
    const device = this.backend === "webgpu" ? "graphics device, or the program on it," : "program";
    if (this.#losses < LOSSES_ALLOWED) {
      this.#on.notice(`The ${device} failed (${error.message}). A new one goes on where it stopped.`, "warning");
    } else if (this.backend === "webgpu") {
      this.#on.notice("The graphics device failed three times in a row. Scoring goes on on the CPU, which is slower.", "warning");
      this.#leave("cpu");
    } else {
      this.fail(error);
    }
  }

  #leave(backend) {
    this.#drop("The backend was changed.");
    this.#losses = 0;
    this.backend = backend;
    this.#on.moved();
  }

  /** Ends the present worker. With none in its place, what it still owed counts as no further loss. */
  #drop(reason) {
    this.#client?.end(reason);
    this.#client = null;
    this.#starting = null;
  }

  #ready() {
    if (this.#starting && this.#client?.alive) return this.#starting;
    const client = new WorkerClient((message) => client === this.#client && this.#hear(message));
    this.#client = client;
    this.#starting = this.#start(client).catch((error) => {
      // A worker that started halfway is of no use; the next question gets a new one.
      client.end(error.message);
      throw error;
    });
    return this.#starting;
  }

  async #start(client) {
    if (this.backend === "webgpu") await this.#probe(client);
    const program = await this.#program;
    let started = performance.now();
    const lap = (stage) => {
      this.#stages[stage] = performance.now() - started;
      started = performance.now();
    };
    const { version, scoreNames } = await client.ask("start", program);
    [this.version, this.program, this.scoreNames] = [version, program.name, scoreNames];
    lap("start the module");
    await this.#open(client);
    lap("open the device");
    await this.#equip(client);
    this.#on.changed();
    return client;
  }

  async #probe(client) {
    // Where WebGPU worked before or was asked for, a busy driver is worth waiting for.
    const patient = this.#insists || this.adapter !== null && this.adapter !== undefined;
    const { sentence, software } = await client.ask("probe", { patient });
    if (sentence) this.#fallBack(`${sentence} Images are scored on the CPU instead, which is slower.`, "warning");
    else if (software && !this.#insists) {
      this.#fallBack("WebGPU has no graphics card here and would be slow: images are scored on the CPU.", "info");
    }
  }

  async #open(client) {
    try {
      this.adapter = (await client.ask("open", { backend: this.backend }, [], OPEN_LIMIT_MS)).adapter;
    } catch (error) {
      if (this.backend === "cpu" || error instanceof WorkerGone) throw error;
      this.#fallBack(`${error.message} Images are scored on the CPU instead, which is slower.`, "warning");
      this.adapter = (await client.ask("open", { backend: this.backend })).adapter;
    }
  }

  /** From WebGPU to the CPU in a worker that has done nothing yet. */
  #fallBack(text, kind) {
    this.backend = "cpu";
    this.#on.notice(text, kind);
    this.#on.changed();
  }

  #hear({ event, message, outOfMemory }) {
    if (event !== "gpu-error") {
      // While something is asked, its failure tells; a worker lost in a quiet moment is replaced when it is next needed.
      const device = this.backend === "webgpu" ? "graphics device" : "program";
      if (this.#asking === 0) this.#on.notice(`The ${device} was lost while nothing was to be done. The next image gets a new one.`, "warning");
      return;
    }
    if (outOfMemory) return this.#client.end(`Out of graphics memory: ${message}`);
    // Of a shader that fails nothing else is heard, and its results are garbage: nothing that this device said counts.
    this.#on.notice(`The graphics driver refused a part of the work, so all scores are made anew on the CPU. (${message})`, "error");
    this.#leave("cpu");
    this.#on.spoilt();
  }
}
