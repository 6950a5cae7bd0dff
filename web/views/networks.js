// Which networks score: the site's, or those that the visitor brought. They are loaded one by one, and a change of them
// waits for the one before.
import { EnsembleFiles } from "../engine/ensemble.js";
import { ownEnsembles } from "../engine/ownweights.js";
import { evictStale, siteEnsemble, siteResults, siteWeights, useSiteFold } from "../engine/siteweights.js";
import { byId, el, throttled } from "./dom.js";
import { notice, problem } from "./messages.js";
import { settings } from "./settings.js";

/** Networks from this size on are announced: the compact ones take a tenth of it. */
const LARGE_BYTES = 64 * 2 ** 20;
/** Memory that loaded networks take at most, in multiples of their files. */
const MEMORY_PER_BYTE = 5;

export class Networks {
  /** Whether the first fold has answered, so that images can be scored. */
  warm = false;
  /** Whether it failed before that. */
  broken = false;
  /** Golden images of the ensemble and their scores, where it has some. */
  selfTest = null;
  #scorer;
  #analyst;
  #program;
  #bytes;
  #leave;
  #shown;
  #measured;
  #changed;
  /** @type {{ name: string }[]} the site's, the default first */
  #offered = [];
  /** Ensembles that the visitor brought, by the name in the choice. */
  #own = new Map();
  /** Chosen last, whether or not it could be loaded. */
  #chosen = null;
  #turn = Promise.resolve();
  #generation = 0;
  /** The notice about the networks in use or why they cannot be used, until others are. */
  #told = null;

  /**
   * @param {{ scorer, analyst, program: Promise<import("../engine/download.js").Program>,
   *   bytes: import("../engine/download.js").ByteProgress, leave: () => void,
   *   shown: (ensemble: EnsembleFiles) => void, measured: (name: string, results: object | null) => void, changed: () => void }} parts
   *   leave is called before another ensemble scores, shown once its manifest is read, measured with the results that are stored
   *   with it, and changed whenever more of it is here
   */
  constructor({ scorer, analyst, program, bytes, leave, shown, measured, changed }) {
    [this.#scorer, this.#analyst, this.#program, this.#bytes] = [scorer, analyst, program, bytes];
    [this.#leave, this.#shown, this.#measured, this.#changed] = [leave, shown, measured, changed];
    bytes.addEventListener("change", throttled(() => this.#showBytes(), 50));
    byId("weights").addEventListener("input", () => this.#choose(byId("weights").value));
    byId("retry").addEventListener("click", () => this.#retry());
  }

  /** Loads the networks that the address asks for, or else the site's first. */
  async start() {
    try {
      this.#offered = await siteWeights();
      if (this.#offered.length === 0) throw new Error("This site has none; drop a weights folder of your own.");
      this.#list();
      const wanted = settings.get("weights");
      await this.#choose(this.#offers(wanted) ? wanted : this.#offered[0].name);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Loads the networks that the address now asks for. */
  follow() {
    const name = settings.get("weights") ?? this.#offered[0]?.name;
    if (this.#offers(name) && name !== this.#scorer.ensemble?.name) this.#choose(name);
  }

  /**
   * Files of the visitor's that turned out to be weights: all ensembles among them are offered, and the first good one is used
   * at once.
   * @param {Map<string, Uint8Array>} files by path
   */
  bring(files) {
    const { ensembles, problems } = ownEnsembles(files);
    problems.forEach(({ label, reason }) => problem(label, reason));
    const names = ensembles.map(({ files: ensemble, folds }) => {
      let name = ensemble.name;
      for (let n = 2; this.#own.has(name) || this.#offers(name); n++) name = `${ensemble.name} ${n}`;
      ensemble.name = name;
      this.#own.set(name, { files: ensemble, folds });
      return name;
    });
    if (names.length > 0) this.#change((current) => this.#useFirst(names, current).then(() => this.#list()));
  }

  #offers(name) { return this.#offered.some((entry) => entry.name === name); }

  /** Changes the ensemble by `work`, after any change that is still under way; `current()` says whether none was asked for since. */
  #change(work) {
    const mine = ++this.#generation;
    const current = () => mine === this.#generation;
    this.#turn = this.#turn.then(() => work(current)).catch((error) => this.#fail(error));
    return this.#turn;
  }

  /** Makes the ensemble `name` the one that scores. */
  #choose(name) {
    this.#chosen = name;
    return this.#change((current) => current() && this.#use(name, current));
  }

  /** Loads the ensemble `name`; it scores as soon as its first fold is here. */
  async #use(name, current) {
    byId("load").hidden = false;
    byId("load").classList.remove("failed");
    byId("retry").hidden = true;
    this.#told?.remove();
    const brought = this.#own.get(name);
    const ensemble = brought ? new EnsembleFiles(name, brought.files.manifestBytes, brought.files) : await siteEnsemble(name);
    const { manifest } = ensemble;
    if (!brought) for (const fold of manifest.folds) this.#bytes.expect(fold.file, fold.bytes);
    warnOfSize(name, manifest);
    phase("Loading the program and the networks.");
    this.#leave();
    this.broken = false;
    this.warm = false;
    await this.#scorer.setEnsemble(ensemble, () => settings.odin(manifest));
    this.selfTest = (await this.#analyst.setEnsemble(ensemble.manifestBytes)).selfTest;
    byId("weights").value = name;
    if (!brought) settings.set({ weights: name === this.#offered[0].name ? null : name });
    this.#shown(ensemble);
    this.#results(ensemble, current);
    for (const [position, fold] of manifest.folds.entries()) {
      if (!current()) return;
      await this.#load(name, fold, position, brought);
      if (position === 0) await this.#warmUp();
      this.#changed();
    }
    performance.mark("eloc:loaded");
    byId("load").hidden = true;
    this.#changed();
    if (!brought) await evictStale(name, manifest, this.#offered.map((entry) => entry.name)).catch(() => {});
  }

  /** Scores by the first of the visitor's ensembles `names` that can be used, or else goes on by what scored before. */
  async #useFirst(names, current) {
    const previous = this.#scorer.ensemble?.name ?? this.#offered[0]?.name;
    for (const name of names) {
      if (!current()) return;
      try {
        await this.#use(name, current);
        if (current()) this.#told = notice(`Images are now scored by your networks "${name}". Settings lead back to the others.`, "info");
        return;
      } catch (error) {
        this.#own.delete(name);
        problem(name, `These weights cannot be used. ${error.message}`);
        notice(`Your networks "${name}" cannot be used. ${error.message}`, "error");
      }
    }
    if (previous && current()) await this.#use(previous, current);
  }

  async #load(name, fold, position, brought) {
    const which = `network ${position + 1} of ${this.#scorer.ensemble.manifest.folds.length}`;
    phase(`Loading ${which}.`);
    const use = (bytes) => {
      phase(`Verifying ${which}.`);
      return this.#scorer.addFold(bytes);
    };
    if (brought) await use(brought.folds[position]);
    else await useSiteFold(name, fold, (done) => this.#bytes.reach(fold.file, done), use);
  }

  async #warmUp() {
    phase(this.#scorer.backend === "webgpu" ? "Compiling shaders. On some devices this takes a minute." : "Warming up.");
    await this.#scorer.warmUp();
    this.warm = true;
    performance.mark("eloc:ready");
  }

  /** The networks score without results of the command line, so these must not stand in their way. */
  async #results({ name, own, results }, current) {
    try {
      const found = own ? results : await siteResults(name);
      if (current()) this.#measured(name, found);
    } catch {
      if (!current()) return;
      this.#measured(name, null);
      notice(`The results stored with "${name}" cannot be shown.`, "warning");
    }
  }

  #list() {
    byId("weights").replaceChildren(...this.#offered.map(({ name }) => el("option", { value: name }, name)),
      ...[...this.#own.keys()].map((name) => el("option", { value: name }, `${name} (yours)`)));
    byId("weights").value = this.#scorer.ensemble?.name ?? this.#offered[0]?.name;
  }

  #showBytes() {
    const { done, total } = this.#bytes;
    const mebibytes = (n) => (n / 2 ** 20).toFixed(1);
    byId("load-progress").value = total ? done / total : 0;
    byId("load-bytes").textContent = `${mebibytes(done)} of ${mebibytes(total)} MiB`;
  }

  #fail(error) {
    const { ensemble } = this.#scorer;
    phase(!this.warm ? "The page could not start."
      : ensemble?.complete ? "The other networks could not be loaded."
      : "Some of the networks are missing, so scores stay provisional.");
    if (ensemble) ensemble.stuck = !ensemble.complete;
    this.#list();
    byId("load").hidden = false;
    byId("load").classList.add("failed");
    byId("retry").hidden = false;
    this.broken = !this.warm;
    this.#changed();
    this.#told = notice(`The networks cannot be used. ${error.message}`, "error");
  }

  /** Once more, from where it failed; without the program nothing has been done that could be lost. */
  async #retry() {
    if (!await this.#program.then(() => true, () => false)) location.reload();
    else if (this.#offered.length === 0) this.start();
    else this.#choose(this.#chosen);
  }
}

/**
 * Networks of the size of a WideResNet are loaded one by one, but stay: their files in half precision, for a worker that has to
 * start anew, and their weights in single precision. In Chromium five of WRN-28-10, 349 MiB, took 1,491 MiB at most.
 */
function warnOfSize(name, { folds }) {
  const size = folds.reduce((sum, fold) => sum + fold.bytes, 0);
  if (size < LARGE_BYTES) return;
  const mebibytes = (n) => Math.ceil(n / 2 ** 20).toLocaleString("en");
  notice(`The networks of "${name}" take ${mebibytes(size)} MiB to load and up to ${mebibytes(MEMORY_PER_BYTE * size)} MiB of memory. ` +
    "A device that has less stops with an error; nothing is lost then.", "warning");
}

function phase(text) { byId("load-phase").textContent = text; }
