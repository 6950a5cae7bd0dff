// The engine works on images and networks, mostly in workers, and knows nothing of the page's elements. Read this file first.
// Around it: files.js and import.js fill image sets (imageset.js), siteweights.js and ownweights.js bring networks, study.js says
// what scores are worth. worker.js and webgpu.js run in the workers; everything else runs in the page and asks them.
//
// Scores image sets: takes their images through the networks and the logits through the arithmetic, until all is done.
//
// In: image sets, an ensemble and the detector's settings. Out: outputs and scores in the sets. schedule.js says which images are
// next, batches.js how many, and runner.js has a worker that the networks are in. On the CPU helpers (helpers.js) share in the
// images, each of them a runner with a worker of its own. A batch that a lost worker owed is next again.
import { Batches } from "./batches.js";
import { Helpers } from "./helpers.js";
import { IMAGE_BYTES } from "./imageset.js";
import { Rate } from "./rate.js";
import { Runner } from "./runner.js";
import { nextRun } from "./schedule.js";

/** A first call compiles shaders, which takes minutes on a software adapter; later ones take a second at most. */
const LIMIT_MS = { first: 600_000, later: 90_000 };
/** "memory access out of bounds" is a fault of the program, however much memory there is. */
const OUT_OF_MEMORY = /memory(?! access)|allocation/i;

/** Emits "change" (progress, backend, state), "scores" { set, start, count } and "notice" { text, kind }. */
export class Scorer extends EventTarget {
  ensemble = null;
  odin = null;
  paused = false;
  /** Plain measurements for the report. */
  stages = {};
  /** @type {import("./imageset.js").ImageSet[]} */
  sets = [];

  #program;
  #analyst;
  #runner;
  #helpers;
  /** Batches that workers have in hand. */
  #inHand = 0;
  #batches = new Batches();
  #rate = new Rate();
  /** Batches that have logits, of which the scores are on their way. */
  #unsettled = 0;

  /**
   * @param {Promise<import("./download.js").Program>} program
   * @param {import("./analyst.js").Analyst} analyst
   * @param {"webgpu" | "cpu" | null} backend what the visitor asks for; null: what is best here
   */
  constructor(program, analyst, backend) {
    super();
    [this.#program, this.#analyst] = [program, analyst];
    this.#runner = this.#newRunner(backend, this.stages, (message) => this.#notice(`Scoring stopped. ${message}`, "error"));
    this.#helpers = new Helpers((failed) => this.#newRunner("cpu", {}, failed), (helper) => this.#run(helper));
    this.#run(this.#runner);
  }

  get backend() { return this.#runner.backend; }
  get adapter() { return this.#runner.adapter; }
  get version() { return this.#runner.version; }
  get program() { return this.#runner.program; }
  get scoreNames() { return this.#runner.scoreNames; }
  /** Why scoring stopped for good, or null. */
  get failure() { return this.#runner.failure; }
  /** How many workers the networks are in, and the bytes that each takes. */
  get workers() { return { count: 1 + this.#helpers.count, bytes: this.#helpers.bytes }; }

  /** Network passes, one per image and fold, done and wanted; and what is known of the speed. */
  progress() {
    const { ensemble } = this;
    const folds = !ensemble ? 0 : ensemble.stuck ? ensemble.loaded : ensemble.manifest.folds.length;
    const wanted = this.sets.reduce((sum, set) => sum + set.count * folds, 0);
    const done = this.sets.reduce((sum, set) => sum + set.passes, 0);
    const passesPerSecond = this.#rate.perSecond();
    const imagesPerSecond = passesPerSecond && folds ? passesPerSecond / folds : null;
    return { done, wanted, imagesPerSecond, secondsLeft: imagesPerSecond ? (wanted - done) / folds / imagesPerSecond : null };
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
    this.#runner.failure = null;
    this.#helpers.dismiss();
    for (const set of this.sets) set.clearOutputs([]);
    await this.#runner.patiently((client) => client.ask("manifest", { bytes: ensemble.manifestBytes }));
    this.ensemble = ensemble;
    this.odin = odin();
    this.#rescore();
  }

  /** Checks the next fold of the ensemble and lets it score. Throws when its content is not what the manifest says. */
  async addFold(bytes) {
    const ensemble = this.ensemble;
    const fold = ensemble.manifest.folds[ensemble.loaded];
    const started = performance.now();
    await this.#runner.patiently((client) => client.ask("fold", { number: fold.number, bytes }));
    if (this.ensemble !== ensemble) return;
    ensemble.folds.push(bytes);
    this.stages[`fold ${fold.number}: verify and parse`] = performance.now() - started;
    this.#changed();
  }

  /** Compiles the shaders of a GPU by a batch of nothing, so that the first image need not wait for it. */
  async warmUp() {
    const started = performance.now();
    const { number } = this.ensemble.manifest.folds[0];
    const shape = this.backend === "webgpu" ? this.#batches.sizeFor(this.backend) : 1;
    const images = new Uint8Array(shape * IMAGE_BYTES);
    await this.#runner.patiently((client) => client.ask("outputs", { fold: number, images, odin: this.odin }, [], LIMIT_MS.first));
    this.#batches.noteCompiled(shape);
    this.stages["warm-up"] = performance.now() - started;
  }

  /** Other settings: everything is scored anew, also after a pause. */
  setOdin(odin) {
    this.paused = false;
    this.#runner.failure = null;
    // A step takes shaders that images without one do not.
    if ((odin.epsilon > 0) !== (this.odin.epsilon > 0)) this.#batches.forgetCompiled();
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
    if (this.paused || this.failure) this.#rate.forget();
    this.paused = false;
    this.#runner.failure = null;
    this.#helpers.forgive();
    this.#changed();
  }

  /** Stops after the batches in hand; nobody waits for them. */
  pause() {
    this.paused = true;
    this.#rate.forget();
    this.#changed();
  }

  /** Goes on on another backend. */
  setBackend(backend) { return this.#runner.move(backend); }

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
      const answer = await this.#runner.patiently((client) => client.ask("explain", { fold: number, image, odin }, [], LIMIT_MS.first));
      this.#runner.progressed();
      answers.push({ fold: number, ...answer });
    }
    return wanted() ? answers : null;
  }

  /** Outputs of `images` ([n][3072]) by every fold, outside of any set; for the self-test. */
  async outputs(images, odin) {
    const n = images.length / IMAGE_BYTES;
    const shape = this.#batches.modest;
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
        const answer = await this.#runner.patiently((client) => ask(client, { fold: number, images: batch, odin }));
        this.#runner.progressed();
        const length = Math.min(shape, n - start) * kept.length;
        logits.set(answer.logits.subarray(0, length), start * kept.length);
        perturbed.set(answer.perturbed.subarray(0, length), start * kept.length);
      }
      outputs.push({ fold: number, logits, perturbed });
    }
    return outputs;
  }

  /** Sends a question that nobody but a test or a report asks to the worker as it is. */
  askWorker(type, input) { return this.#runner.ask(type, input); }

  /** What a new worker must know. */
  async #equip(client) {
    this.#batches.forgetCompiled();
    // Another ensemble may be chosen meanwhile; it is sent after this one.
    const { ensemble } = this;
    if (!ensemble) return;
    await client.ask("manifest", { bytes: ensemble.manifestBytes });
    for (const [position, bytes] of ensemble.folds.entries()) {
      await client.ask("fold", { number: ensemble.manifest.folds[position].number, bytes });
    }
  }

  /** A worker on `backend`, with the networks in it. */
  #newRunner(backend, stages, failed) {
    return new Runner({ program: this.#program, backend, stages, equip: (client) => this.#equip(client) }, {
      changed: () => this.#changed(),
      notice: (text, kind) => this.#notice(text, kind),
      failed,
      moved: () => {
        this.#helpers.dismiss();
        this.#rate.forget();
        this.#changed();
      },
      spoilt: () => this.#rescore(),
    });
  }

  /** On the CPU others share in the rest, once all folds are here. */
  #callHelpers() {
    if (this.backend !== "cpu" || this.paused || this.failure || !this.ensemble?.complete) return;
    const { done, wanted } = this.progress();
    this.#helpers.fit((wanted - done) / this.ensemble.loaded);
  }

  /** Takes one batch after the other to the worker of `runner`. */
  async #run(runner) {
    while (runner === this.#runner || this.#helpers.has(runner)) {
      const job = this.#next();
      if (!job) {
        await new Promise((resolve) => this.addEventListener("change", resolve, { once: true }));
        continue;
      }
      const { set, start, count, generation } = job;
      set.take(start, count);
      this.#inHand += 1;
      await runner.attempt((client) => this.#score(runner, client, job), (error) => this.#ease(error, runner, job)).catch(() => {});
      this.#inHand -= 1;
      if (generation === set.generation) set.giveBack(start, count);
      this.#changed();
    }
  }

  #next() {
    if (this.paused || this.failure || !this.ensemble?.loaded) return null;
    const run = nextRun(this.sets, this.ensemble, this.#batches.sizeFor(this.backend), this.workers.count);
    return run && { ...run, shape: this.#batches.shapeFor(run.count, this.backend), generation: run.set.generation };
  }

  async #score(runner, client, { set, start, count, position, shape, generation }) {
    // Outputs that were cleared meanwhile, for whatever reason, are not to be filled with what was asked before.
    if (generation !== set.generation) return;
    const first = !this.#batches.isCompiled(shape);
    const images = set.gather(start, count, shape);
    const { number } = set.folds[position];
    this.#rate.begin();
    const input = { fold: number, images, odin: this.odin };
    const answer = await client.ask("outputs", input, [images.buffer], first ? LIMIT_MS.first : LIMIT_MS.later);
    runner.progressed();
    this.#measure(shape, first, answer);
    if (generation !== set.generation || !this.sets.includes(set)) return;
    this.#helpers.bytes = answer.memory;
    set.setOutputs(position, start, count, answer);
    // Of the time in which several work each counts its part.
    set.seconds += answer.ms / 1000 / this.#inHand;
    this.#rate.add(count);
    this.#settle(set, start, count, position + 1);
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
      if (generation === set.generation) this.#runner.fail(error);
    } finally {
      this.#unsettled -= 1;
      this.#changed();
    }
  }

  /** Counts a batch for the report, and adapts the next ones to it; a first call counts its compilation and says nothing. */
  #measure(shape, first, { ms, dispatches, pipelines }) {
    this.#batches.noteCompiled(shape);
    // The CPU, which compiles nothing, takes batches of any size.
    const onCpu = this.backend === "cpu", images = onCpu ? 1 : shape;
    const stage = (this.stages[`outputs of ${images}, one fold`] ??= { calls: 0, ms: 0, dispatches });
    // A first call may also carry what the loading of networks has left.
    Object.assign(stage, { pipelines, dispatches: Math.min(stage.dispatches, dispatches) });
    if (first && !onCpu) return;
    stage.calls += 1;
    stage.ms += ((ms * images) / shape - stage.ms) / Math.min(stage.calls, 20);
    this.#batches.adapt(shape, ms);
  }

  /** Where the memory did not do: does with fewer helpers, or else with smaller batches. */
  #ease(error, runner, { shape }) {
    if (!OUT_OF_MEMORY.test(error.message)) return false;
    if (this.#helpers.has(runner)) this.#helpers.giveUp(runner);
    else if (this.#helpers.count > 0) this.#helpers.giveUpAll();
    else if (shape > 1) this.#batches.forbid(shape);
    else return false;
    const { count } = this.workers;
    this.#notice(`Memory ran out: scoring goes on with ${count} ${count > 1 ? "workers" : "worker"} and batches of at most ${this.#batches.largest}.`, "warning");
    return true;
  }

  #rescore() {
    for (const set of this.sets) set.clearOutputs(this.ensemble?.manifest.folds ?? []);
    this.#rate.forget();
    this.#changed();
  }

  #notice(text, kind) { this.dispatchEvent(new CustomEvent("notice", { detail: { text, kind } })); }

  #changed() {
    this.#callHelpers();
    this.dispatchEvent(new Event("change"));
  }
}
