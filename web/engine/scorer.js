// Schedules the networks: which images go through which fold next, in which batch, on which worker.
//
// In: image sets, an ensemble and the detector's settings. Out: outputs and scores in the sets. A worker that dies is
// replaced, and the work goes on at the first image that a fold has not seen; after three losses without progress
// it goes on on the CPU.
import { IMAGE_BYTES } from "./imageset.js";
import { WorkerClient, WorkerGone } from "./workers.js";

/** Batches come in these sizes only, so that the device compiles few shaders; the last of a run is padded. */
const SHAPES = [1, 8, 32, 128];
/** A batch should take about 0.3 s: long enough to be efficient, short enough to cancel and to share. */
const BATCH_MS = { grow: 450, shrink: 1500 };
/** With all folds here, this many images go through all of them before the next ones begin: verdicts come early. */
const BLOCK = 512;
const LOSSES_ALLOWED = 3;
/** A first call compiles shaders, which takes minutes on a software adapter; later ones take a second at most. */
const LIMIT_MS = { first: 600_000, later: 90_000 };
/** Images/s are measured over this long. */
const RATE_WINDOW_MS = 10_000;

/** Emits "change" (progress, backend, state), "scores" { set, start, count } and "notice" { text, kind }. */
export class Scorer extends EventTarget {
  backend;
  ensemble = null;
  odin = null;
  paused = false;
  /** Why scoring stopped for good, or null. */
  failure = null;
  /** Plain measurements for the report. */
  stages = {};
  adapter = null;
  version = "";
  scoreNames = [];
  /** @type {import("./imageset.js").ImageSet[]} */
  sets = [];

  #module;
  #analyst;
  #client = null;
  #starting = null;
  #wake = () => {};
  #losses = 0;
  #shape = 1;
  #largest = SHAPES.length - 1;
  #warm = new Set();
  #history = [];
  #unsettled = 0;
  #asking = 0;
  /** Whether the visitor asked for this backend: then WebGPU in software is taken, too. */
  #insists;

  /**
   * @param {Promise<WebAssembly.Module>} module
   * @param {import("./workers.js").Analyst} analyst
   * @param {"webgpu" | "cpu" | null} backend what the visitor asks for; null: what is best here
   */
  constructor(module, analyst, backend) {
    super();
    this.#module = module;
    this.#analyst = analyst;
    this.backend = backend ?? "webgpu";
    this.#insists = backend !== null;
    // A start that fails is told to the first question that needs it.
    this.#ready().catch(() => {});
    this.#run();
  }

  /** Network passes, one per image and fold, done and wanted; and what is known of the speed. */
  progress() {
    const { ensemble } = this;
    const folds = !ensemble ? 0 : ensemble.stuck ? ensemble.loaded : ensemble.manifest.folds.length;
    const wanted = this.sets.reduce((sum, set) => sum + set.count * folds, 0);
    const done = this.sets.reduce((sum, set) => sum + set.passes, 0);
    const now = performance.now();
    this.#history = this.#history.filter(({ at }) => now - at < RATE_WINDOW_MS);
    const span = this.#history.length > 1 ? now - this.#history[0].at : 0;
    const passes = this.#history.slice(1).reduce((sum, entry) => sum + entry.passes, 0);
    const rate = span > 0 && folds > 0 ? (passes / folds) * (1000 / span) : null;
    return { done, wanted, imagesPerSecond: rate, secondsLeft: rate ? (wanted - done) / folds / rate : null };
  }

  /** Whether anything is still to be scored, or a score is still on its way. */
  get busy() {
    if (this.#unsettled > 0) return true;
    const { done, wanted } = this.progress();
    return !this.paused && !this.failure && done < wanted;
  }

  /**
   * Makes `ensemble` the one that scores; its folds follow by addFold. Throws when the manifest is not right.
   * @param {() => object} odin the detector's settings, which may change while the manifest is read
   */
  async setEnsemble(ensemble, odin) {
    this.ensemble = null;
    this.paused = false;
    this.failure = null;
    for (const set of this.sets) set.clearOutputs([]);
    await this.#patiently((client) => client.ask("manifest", { bytes: ensemble.manifestBytes }));
    this.ensemble = ensemble;
    this.odin = odin();
    this.#rescore();
  }

  /** Checks the next fold of the ensemble and lets it score. Throws when its content is not what the manifest says. */
  async addFold(bytes) {
    const ensemble = this.ensemble;
    const fold = ensemble.manifest.folds[ensemble.loaded];
    const started = performance.now();
    await this.#patiently((client) => client.ask("fold", { number: fold.number, bytes }));
    if (this.ensemble !== ensemble) return;
    ensemble.folds.push(bytes);
    this.stages[`fold ${fold.number}: verify and parse`] = performance.now() - started;
    this.#changed();
  }

  /** Compiles the shaders of a GPU by a batch of nothing, so that the first image need not wait for it. */
  async warmUp() {
    const started = performance.now();
    const { number } = this.ensemble.manifest.folds[0];
    const shape = this.backend === "webgpu" ? SHAPES[this.#shape] : 1;
    const images = new Uint8Array(shape * IMAGE_BYTES);
    await this.#patiently((client) => client.ask("outputs", { fold: number, images, odin: this.odin }, [], LIMIT_MS.first));
    this.#warm.add(shape);
    this.stages["warm-up"] = performance.now() - started;
  }

  /** Other settings: everything is scored anew, also after a pause. */
  setOdin(odin) {
    this.paused = false;
    this.failure = null;
    // A step takes shaders that images without one do not.
    if ((odin.epsilon > 0) !== (this.odin.epsilon > 0)) this.#warm.clear();
    this.odin = odin;
    this.#rescore();
  }

  addSet(set) {
    if (this.ensemble) set.clearOutputs(this.ensemble.manifest.folds);
    this.sets.push(set);
    this.#changed();
  }

  removeSet(set) {
    this.sets = this.sets.filter((other) => other !== set);
    this.#changed();
  }

  /** Images were added to a set, or scoring may go on after a pause. */
  resume() {
    if (this.paused || this.failure) this.#history = [];
    this.paused = false;
    this.failure = null;
    this.#changed();
  }

  /** Stops after the batch in hand; nobody waits for it. */
  pause() {
    this.paused = true;
    this.#history = [];
    this.#changed();
  }

  /** Goes on on another backend. */
  async setBackend(backend) {
    this.#insists = true;
    this.#leave(backend);
    this.failure = null;
    // A start that was overtaken by another choice is no error.
    await this.#patiently(() => null);
    this.#changed();
  }

  /**
   * Outputs, input gradients and perturbations of one image by the folds that are here.
   * @param {Uint8Array} image [3][32][32]
   * @param {() => boolean} wanted false stops the work
   * @returns {Promise<object[] | null>} per fold { fold, logits, perturbed, gradient, step }; null when not wanted any more
   */
  async explain(image, odin, wanted) {
    const answers = [];
    const folds = this.ensemble.manifest.folds.slice(0, this.ensemble.loaded);
    for (const { number } of folds) {
      if (!wanted()) return null;
      const answer = await this.#patiently((client) => client.ask("explain", { fold: number, image, odin }, [], LIMIT_MS.first));
      this.#losses = 0;
      answers.push({ fold: number, ...answer });
    }
    return wanted() ? answers : null;
  }

  /** Outputs of `images` ([n][3072]) by every fold, outside of any set; for the self-test. */
  async outputs(images, odin) {
    const n = images.length / IMAGE_BYTES;
    const shape = SHAPES[Math.min(this.#largest, 1)];
    const outputs = [];
    const { ensemble, backend } = this;
    const ask = (client, input) => {
      // The worker may not have this fold any more, and would count as broken.
      if (this.ensemble !== ensemble || this.backend !== backend) throw new Error("Other networks or another backend are used now.");
      return client.ask("outputs", input, [], LIMIT_MS.first);
    };
    for (const { number, kept } of ensemble.manifest.folds) {
      const logits = new Float32Array(n * kept.length), perturbed = new Float32Array(n * kept.length);
      for (let start = 0; start < n; start += shape) {
        const batch = new Uint8Array(shape * IMAGE_BYTES);
        batch.set(images.subarray(start * IMAGE_BYTES, Math.min(n, start + shape) * IMAGE_BYTES));
        const answer = await this.#patiently((client) => ask(client, { fold: number, images: batch, odin }));
        this.#losses = 0;
        const length = Math.min(shape, n - start) * kept.length;
        logits.set(answer.logits.subarray(0, length), start * kept.length);
        perturbed.set(answer.perturbed.subarray(0, length), start * kept.length);
      }
      outputs.push({ fold: number, logits, perturbed });
    }
    return outputs;
  }

  /** Sends a question that nobody but a test or a report asks to the worker as it is. */
  async askWorker(type, input) { return (await this.#ready()).ask(type, input); }

  async #run() {
    for (;;) {
      const job = this.#next();
      if (!job) {
        await new Promise((resolve) => { this.#wake = resolve; });
        continue;
      }
      await this.#attempt((client) => this.#score(client, job), job).catch(() => {});
    }
  }

  /** The next images that stand at the same fold, of the set that is furthest behind. */
  #next() {
    if (this.paused || this.failure || !this.ensemble?.loaded) return null;
    const { loaded, complete } = this.ensemble;
    let best = null;
    for (const set of this.sets) {
      const first = set.done.subarray(0, set.count).findIndex((done) => done < loaded);
      if (first >= 0 && (!best || first / set.count < best.first / best.set.count)) best = { set, first };
    }
    if (!best) return null;
    const { set, first } = best;
    // While folds are still on their way, each one that is here goes over everything; later it goes block by block.
    const from = complete ? Math.floor(first / BLOCK) * BLOCK : 0;
    const to = complete ? Math.min(set.count, from + BLOCK) : set.count;
    const seen = set.done.subarray(from, to);
    const position = seen.reduce((least, done) => Math.min(least, done), loaded);
    const start = from + seen.indexOf(position);
    const size = SHAPES[Math.min(this.#shape, this.#largest)];
    let end = start;
    while (end < to && end - start < size && set.done[end] === position) end += 1;
    const count = end - start;
    // A shape that is compiled already serves a smaller rest, unless it is one that turned out too slow; the CPU compiles none.
    const fitting = SHAPES.filter((shape) => shape >= count && shape <= size);
    const compiled = this.backend === "webgpu" && fitting.find((candidate) => this.#warm.has(candidate));
    const shape = compiled || fitting[0];
    return { set, start, count, position, shape, generation: set.generation };
  }

  async #score(client, { set, start, count, position, shape, generation }) {
    await this.#ready();
    // Outputs that were cleared meanwhile, for whatever reason, are not to be filled with what was asked before.
    if (generation !== set.generation) return;
    const first = !this.#warm.has(shape);
    const images = set.gather(start, count, shape);
    const { number } = set.folds[position];
    if (this.#history.length === 0) this.#history.push({ at: performance.now(), passes: 0 });
    const input = { fold: number, images, odin: this.odin };
    const answer = await client.ask("outputs", input, [images.buffer], first ? LIMIT_MS.first : LIMIT_MS.later);
    this.#losses = 0;
    this.#learn(shape, first, answer);
    if (generation !== set.generation || !this.sets.includes(set)) return;
    set.setOutputs(position, start, count, answer);
    set.seconds += answer.ms / 1000;
    this.#history.push({ at: performance.now(), passes: count });
    this.#settle(set, start, count, position + 1);
    this.#changed();
  }

  /** Turns outputs into scores; the device goes on meanwhile. */
  async #settle(set, start, count, folds) {
    const { generation } = set;
    this.#unsettled += 1;
    try {
      const outputs = set.outputs(folds, start, start + count);
      const answer = await this.#analyst.ask("scores", { outputs, temperature: this.odin.temperature });
      if (generation !== set.generation) return;
      set.setScores(folds, start, answer);
      if (performance.getEntriesByName("eloc:first-score").length === 0) performance.mark("eloc:first-score");
      this.dispatchEvent(new CustomEvent("scores", { detail: { set, start, count } }));
    } catch (error) {
      if (generation === set.generation) this.#fail(error);
    } finally {
      this.#unsettled -= 1;
      this.#changed();
    }
  }

  /** Adapts the batch to the speed seen; a first call counts its compilation and says nothing. */
  #learn(shape, first, { ms, dispatches }) {
    this.#warm.add(shape);
    const key = `outputs of ${shape}, one fold`;
    const stage = (this.stages[key] ??= { calls: 0, ms: 0, dispatches });
    // Without a GPU nothing is compiled.
    if (first && this.backend === "webgpu") return;
    stage.calls += 1;
    stage.ms += (ms - stage.ms) / Math.min(stage.calls, 20);
    const index = SHAPES.indexOf(shape);
    if (index !== this.#shape) return;
    const next = SHAPES[index + 1];
    if (next && index < this.#largest && (ms * next) / shape <= BATCH_MS.grow) this.#shape = index + 1;
    if (ms > BATCH_MS.shrink && index > 0) this.#shape = index - 1;
  }

  /** A question that survives the loss of its worker, within limits. */
  async #patiently(ask) {
    for (;;) {
      try {
        return await this.#attempt(async (client) => {
          await this.#ready();
          return ask(client);
        }, null);
      } catch (error) {
        if (!(error instanceof WorkerGone) || this.failure) throw error;
      }
    }
  }

  /** Does `work` with the present worker; when that worker is lost by it, makes room for a new one. Throws what failed. */
  async #attempt(work, job) {
    this.#ready().catch(() => {});
    const client = this.#client;
    this.#asking += 1;
    try {
      return await work(client);
    } catch (error) {
      // A worker that was replaced on purpose takes its questions with it; that is no loss.
      if (client === this.#client && (job || error instanceof WorkerGone)) this.#recover(error, job);
      throw error;
    } finally {
      this.#asking -= 1;
    }
  }

  #recover(error, job) {
    // "memory access out of bounds" is a fault of the program, however much memory there is.
    const smaller = job?.shape > 1 && /memory(?! access)|allocation/i.test(error.message);
    if (smaller) {
      this.#largest = Math.max(0, SHAPES.indexOf(job.shape) - 1);
      this.#shape = Math.min(this.#shape, this.#largest);
      this.#notice(`Memory ran out: scoring goes on with batches of ${SHAPES[this.#largest]}.`, "warning");
    } else if (!(error instanceof WorkerGone)) {
      return this.#fail(error);
    }
    this.#drop(error.message);
    if (smaller) return;
    this.#losses += 1;
    const device = this.backend === "webgpu" ? "graphics device, or the program on it," : "program";
    if (this.#losses < LOSSES_ALLOWED) {
      this.#notice(`The ${device} failed (${error.message}). A new one goes on where it stopped.`, "warning");
    } else if (this.backend === "webgpu") {
      this.#notice("The graphics device failed three times in a row. Scoring goes on on the CPU, which is slower.", "warning");
      this.#leave("cpu");
    } else {
      this.#fail(error);
    }
  }

  #leave(backend) {
    this.#drop("The backend was changed.");
    this.#losses = 0;
    this.#history = [];
    this.backend = backend;
    this.#changed();
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
    // A new worker has compiled nothing.
    this.#warm.clear();
    this.#starting = this.#start(client).catch((error) => {
      // A worker that started halfway is of no use; the next question gets a new one.
      client.end(error.message);
      throw error;
    });
    return this.#starting;
  }

  async #start(client) {
    if (this.backend === "webgpu") {
      // Where WebGPU worked before or was asked for, a busy driver is worth waiting for.
      const patient = this.#insists || this.adapter !== null && this.adapter !== undefined;
      const { sentence, software } = await client.ask("probe", { patient });
      if (sentence) this.#fallBack(`${sentence} Images are scored on the CPU instead, which is slower.`, "warning");
      else if (software && !this.#insists) {
        this.#fallBack("WebGPU has no graphics card here and would be slow: images are scored on the CPU.", "info");
      }
    }
    let started = performance.now();
    const lap = (stage) => {
      this.stages[stage] = performance.now() - started;
      started = performance.now();
    };
    const module = await this.#module;
    started = performance.now();
    Object.assign(this, await client.ask("start", { module }));
    lap("start the module");
    await this.#open(client);
    lap("open the device");
    // Another ensemble may be chosen meanwhile; it is sent after this one.
    const { ensemble } = this;
    if (ensemble) {
      await client.ask("manifest", { bytes: ensemble.manifestBytes });
      for (const [position, bytes] of ensemble.folds.entries()) {
        await client.ask("fold", { number: ensemble.manifest.folds[position].number, bytes });
      }
    }
    this.#changed();
    return client;
  }

  async #open(client) {
    try {
      this.adapter = (await client.ask("open", { backend: this.backend }, [], 60_000)).adapter;
    } catch (error) {
      if (this.backend === "cpu" || error instanceof WorkerGone) throw error;
      this.#fallBack(`${error.message} Images are scored on the CPU instead, which is slower.`, "warning");
      this.adapter = (await client.ask("open", { backend: this.backend })).adapter;
    }
  }

  #fallBack(text, kind) {
    this.backend = "cpu";
    this.#notice(text, kind);
    this.#changed();
  }

  #hear({ event, message, outOfMemory }) {
    if (event !== "gpu-error") {
      // While something is asked, its failure tells; a worker lost in a quiet moment is replaced when it is next needed.
      if (this.#asking === 0) this.#notice("The graphics device was lost while nothing was to be done. The next image gets a new one.", "warning");
      return;
    }
    if (outOfMemory) return this.#client.end(`Out of graphics memory: ${message}`);
    // Of a shader that fails nothing else is heard, and its results are garbage: nothing that this device said counts.
    this.#notice(`The graphics driver refused a part of the work, so all scores are made anew on the CPU. (${message})`, "error");
    this.#leave("cpu");
    this.#rescore();
  }

  #rescore() {
    for (const set of this.sets) set.clearOutputs(this.ensemble?.manifest.folds ?? []);
    this.#history = [];
    this.#changed();
  }

  #fail(error) {
    this.failure = error.message;
    this.#notice(`Scoring stopped. ${error.message}`, "error");
    this.#changed();
  }

  #notice(text, kind) { this.dispatchEvent(new CustomEvent("notice", { detail: { text, kind } })); }

  #changed() {
    this.#wake();
    this.dispatchEvent(new Event("change"));
  }
}
