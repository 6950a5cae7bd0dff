// The evaluator: two sides of images, what their scores say about the detector, and the files to take away.
import { IMAGE_BYTES, ImageSet } from "../engine/imageset.js";
import { byClass } from "../engine/import.js";
import { compare, elocIntervals, extent, METRICS } from "../engine/study.js";
import { byId, el, misfit, onClick, table, throttled } from "./dom.js";
import { csvOf, download } from "./export.js";
import { notice } from "./messages.js";
import { settings } from "./settings.js";
import { StudyView } from "./studyview.js";
import { percent, plural, whole } from "./words.js";

/** The seeds of the command line's generated sets. */
const OOD_SEED = 0, SHAPES_TEST_SEED = 2, SHAPES_PER_CLASS = 200;

const IMAGE = /\.(png|jpe?g|jfif|webp|bmp|gif)$/i, ARCHIVE = /\.(zip|tar|tgz|gz)$/i;

/** Emits nothing; its two sides are `idSet` and `oodSets`. */
export class Evaluator {
  idSet = null;
  /** @type {ImageSet[]} */
  oodSets = [];
  #scorer;
  #analyst;
  #statistician;
  #importer;
  #room;
  #closeDetails;
  #view;
  /** The visitor's choice of #oodSet, or the set that came last. */
  #chosen = null;
  #working = false;
  #again = false;
  #intervals = { key: "", value: null };
  /** Rows of the lists of sets. @type {Map<ImageSet, HTMLElement>} */
  #rows = new Map();

  /** @param {{ scorer, analyst, statistician, importer, open, closeDetails, room }} parts */
  constructor({ scorer, analyst, statistician, importer, open, closeDetails, room }) {
    [this.#scorer, this.#analyst, this.#statistician, this.#importer] = [scorer, analyst, statistician, importer];
    [this.#closeDetails, this.#room] = [closeDetails, room];
    this.#view = new StudyView(scorer, open);
    this.update = throttled(() => this.#update(), 700);
    for (const button of document.querySelectorAll("[data-generate]")) {
      onClick(button, () => this.#generate(button.dataset.generate, button.dataset.side));
    }
    byId("eval-score").addEventListener("input", () => this.otherScores());
    byId("eval-ood-choice").addEventListener("input", () => {
      this.#choose(this.oodSets[byId("eval-ood-choice").selectedIndex]);
      this.update();
    });
    byId("export-json").addEventListener("click", () => this.#exportJson());
    byId("export-eval-csv").addEventListener("click", () =>
      scorer.ensemble && download("eloc-evaluation.csv", "text/csv", csvOf(scorer, this.#sets(), scorer.scoreNames)));
    byId("eval-clear").addEventListener("click", () => this.clear());
  }

  /** Takes dropped or picked items: those of the in side make one set, on the out side every folder and archive is one. */
  take(side, items) {
    const wrong = misfit(byId("eval-limit"));
    if (wrong) return notice(wrong, "error");
    const limit = Number(byId("eval-limit").value) || Infinity;
    const loose = (item) => item.files.length === 1 && IMAGE.test(item.name);
    const single = items.filter(loose), groups = items.filter((item) => !loose(item));
    if (single.length) groups.push({ name: single.length === 1 ? single[0].name : "images", files: single.flatMap(({ files }) => files) });
    if (side === "id") {
      const name = groups.length === 1 ? groups[0].name : "images", set = this.#knownSet(name), left = limit - set.count;
      if (left <= 0) return notice(`"${set.name}" has ${plural(set.count, "image")} already, of at most ${whole(limit)}.`, "error");
      this.#read(name, set, some(groups.flatMap(({ files }) => byClass(images(files))), left), limit);
    } else {
      for (const { name, files } of groups) {
        this.#read(name, this.#newOodSet(name), files.length > limit ? some(images(files), limit) : files, limit);
      }
    }
  }

  clear() {
    for (const set of this.#sets()) this.#remove(set);
  }

  /** Other scores are to be shown, or the same of other networks or settings. */
  otherScores() {
    this.#view.forgetThreshold();
    this.update();
  }

  /** Another ensemble: its scores, and its kind of generated known images. */
  ensembleChanged() {
    const { manifest } = this.#scorer.ensemble;
    const shapes = manifest.dataset === "shapes";
    byId("generate-id-shapes").hidden = !shapes;
    const file = { cifar10: "test_batch.bin", cifar100: "test.bin" }[manifest.dataset];
    byId("id-hint").textContent = shapes
      ? "These networks know the built-in set of shapes."
      : `Images of ${manifest.dataset}${file ? `, such as its test file ${file}` : " that these networks were not trained on"}.`;
    const before = byId("eval-score").value;
    byId("eval-score").replaceChildren(...this.#scorer.scoreNames.map(({ id, label }) => el("option", { value: id }, label)));
    if (before) byId("eval-score").value = before;
    this.otherScores();
  }

  #sets() { return [this.idSet, ...this.oodSets].filter(Boolean); }

  /** The out-of-distribution set that is shown. */
  get #oodSet() { return this.oodSets.includes(this.#chosen) ? this.#chosen : this.oodSets.at(-1); }

  #knownSet(name) {
    if (!this.idSet) {
      this.idSet = new ImageSet(name);
      this.#scorer.addSet(this.idSet);
    }
    return this.idSet;
  }

  #newOodSet(name) {
    const taken = new Set(this.oodSets.map((set) => set.name));
    let free = name;
    for (let n = 2; taken.has(free); n++) free = `${name} (${n})`;
    const set = new ImageSet(free);
    this.oodSets.push(set);
    this.#scorer.addSet(set);
    return set;
  }

  #read(name, set, files, limit) {
    let first = true;
    this.#importer.read(name, set, files, { limit,
      added: () => {
        // Only what can be read is shown.
        if (first && set !== this.idSet) this.#choose(set);
        first = false;
        this.#scorer.resume();
        this.#list();
      },
      ended: () => {
        const more = this.#importer.reads(set) || this.#importer.unread(set);
        if (set.count === 0 && !more && this.#sets().includes(set)) this.#remove(set);
        if (set.count === limit && files.some(({ path }) => ARCHIVE.test(path))) {
          notice(`The first ${plural(limit, "image")} of "${name}" were taken, as asked. An archive may hold them class by class: then raise the number, or unpack it and drop the folder.`, "info");
        }
        this.#list();
        this.update();
      },
    });
    this.#list();
  }

  async #generate(kind, side) {
    const wrong = misfit(byId("generate-count"));
    if (wrong) return notice(wrong, "error");
    const asked = Number(byId("generate-count").value);
    const known = side === "id";
    try {
      // Shapes are counted by class, of which there are as many as the set has.
      const wanted = kind !== "shapes" ? asked : known ? SHAPES_PER_CLASS : Math.max(1, Math.round(asked / 10));
      if ((kind === "shapes" ? 10 * wanted : wanted) > this.#room()) throw new Error("The page is full; clear some images first.");
      const { images, classes } = await this.#analyst.ask("generate", { kind, count: wanted, seed: kind === "shapes" ? SHAPES_TEST_SEED : OOD_SEED });
      const count = images.length / IMAGE_BYTES;
      const set = known ? this.#knownSet("shapes") : this.#newOodSet(`${kind}:${count}`);
      set.addMade(kind, classes ?? [], images);
      if (!known) this.#choose(set);
      this.#scorer.resume();
    } catch (error) {
      notice(`These images could not be made. ${error.message}`, "error");
    }
    this.#list();
    this.update();
  }

  #choose(set) {
    this.#chosen = set;
    this.#view.forgetThreshold();
  }

  #remove(set) {
    this.#importer.cancel(set);
    this.#scorer.removeSet(set);
    this.#closeDetails(set);
    if (set === this.idSet) this.idSet = null;
    if (set === this.#oodSet) this.#view.forgetThreshold();
    this.oodSets = this.oodSets.filter((other) => other !== set);
    this.#list();
    this.update();
  }

  /** The sets of both sides, each with what is done of it. */
  #list() {
    for (const [set, row] of this.#rows) {
      if (this.#sets().includes(set)) continue;
      const focused = row.contains(document.activeElement);
      const next = row.nextElementSibling ?? row.previousElementSibling ?? row.closest(".side");
      row.remove();
      this.#rows.delete(set);
      if (focused) next.querySelector("button").focus();
    }
    for (const set of this.#sets()) {
      let row = this.#rows.get(set);
      if (!row) {
        row = el("li", { "data-set": set.name }, el("span"),
          el("button", { type: "button", class: "quiet", onclick: () => this.#remove(set) }, "Remove", el("span", { class: "visually-hidden" }, ` ${set.name}`)));
        this.#rows.set(set, row);
        byId(set === this.idSet ? "id-sets" : "ood-sets").append(row);
      }
      row.dataset.count = set.count;
      row.firstChild.textContent = `${set.name}: ${plural(set.count, "image")}` + (this.#importer.unread(set) ? "; the rest is not read yet" : "");
    }
    byId("eval-ood-choice").replaceChildren(...this.oodSets.map(({ name }) => el("option", {}, name)));
    byId("eval-ood-choice").selectedIndex = this.oodSets.indexOf(this.#oodSet);
    byId("eval-clear").disabled = this.#sets().length === 0;
    this.#offer();
  }

  /** Exports wait for the last score: a file must say what all folds say. */
  #offer() {
    const sets = this.#sets();
    const folds = this.#scorer.ensemble?.manifest.folds.length;
    const done = sets.every((set) => set.count > 0 && set.prefix(folds) === set.count);
    byId("export-json").disabled = !(this.idSet && this.oodSets.length && done && !sets.some((set) => this.#importer.reads(set)));
    byId("export-eval-csv").disabled = sets.length === 0 || !this.#scorer.ensemble;
  }

  async #update() {
    this.#offer();
    // One at a time; what comes meanwhile is one more round.
    if (this.#working) { this.#again = true; return; }
    this.#working = true;
    try {
      await this.#study();
    } catch (error) {
      byId("metrics-problem").textContent = error.message;
    } finally {
      this.#working = false;
    }
    if (this.#again) {
      this.#again = false;
      this.update();
    }
  }

  async #study() {
    const { ensemble, scoreNames } = this.#scorer;
    const idSet = this.idSet, oodSet = this.#oodSet;
    const size = ensemble && idSet && oodSet && extent(idSet, oodSet, ensemble.manifest.folds.length);
    byId("study-empty").hidden = Boolean(size);
    if (!size) return this.#view.hide();
    const definition = settings.get("definition"), score = byId("eval-score").value || "eloc";
    const reading = this.#importer.reads(idSet) || this.#importer.reads(oodSet);
    const busy = reading || size.id < idSet.count || size.ood < oodSet.count || size.folds < ensemble.manifest.folds.length;
    const scoreLabel = scoreNames.find(({ id }) => id === score).label;
    const generation = () => `${idSet.generation}|${oodSet.generation}`;
    const made = generation();
    const current = () => made === generation() && idSet === this.idSet && oodSet === this.#oodSet;
    const study = await compare(this.#statistician, idSet, oodSet, size, { scoreNames, score, definition });
    // The networks, the settings or the sets may have been changed meanwhile: then these numbers are of no more use.
    if (!current()) return;
    const key = [made, definition, size.folds].join("|");
    const grown = `${key}|${size.id}|${size.ood}|${busy}`;
    const show = () => this.#view.show({ ...study, idSet, oodSet, size, score, scoreLabel, busy, intervals: this.#intervals.key === grown || (busy && this.#intervals.key.startsWith(`${key}|`)) ? this.#intervals.value : null });
    show();
    await this.#summary(idSet, ensemble.manifest.folds.length, definition);
    if (this.#intervals.key === grown || !current()) return;
    const value = await elocIntervals(this.#statistician, idSet, oodSet, size, { definition, final: !busy });
    this.#intervals = { key: grown, value };
    if (current()) show();
  }

  /** The ensemble's score on every out-of-distribution set. */
  async #summary(idSet, folds, definition) {
    const rows = [];
    for (const set of this.oodSets) {
      const size = extent(idSet, set, folds);
      if (!size) continue;
      const pair = { id: idSet.scores.eloc.slice(0, size.id), ood: set.scores.eloc.slice(0, size.ood) };
      const [metrics] = await this.#statistician.ask("metrics", { pairs: [pair], definition });
      rows.push([set.name, String(size.ood), ...METRICS.map(([key]) => percent(metrics[key]))]);
    }
    byId("eval-summary").replaceChildren(rows.length > 1
      ? table("ELOC on every set, in percent", ["Out-of-distribution set", "Images", ...METRICS.map(([, label]) => label)], rows)
      : "");
  }

  async #exportJson() {
    const { ensemble, odin, backend } = this.#scorer;
    this.#offer();
    if (byId("export-json").disabled) return;
    const folds = ensemble.manifest.folds.length;
    const of = (set) => ({ name: set.name, outputs: set.outputs(folds) });
    // All of it is taken now: the sets may change while the report is made.
    const side = (set) => ({ name: set.name, images: [...set.labels], scores: [...set.scores.eloc.subarray(0, set.count)] });
    const [id, ...ood] = this.#sets().map(side);
    const seconds = this.#sets().reduce((sum, set) => sum + set.seconds, 0);
    try {
      const report = await this.#analyst.ask("report", { input: {
        device: backend === "cpu" ? "CPU (browser)" : "WebGPU (browser)", seconds, definition: settings.get("definition"), odin,
        id: { ...of(this.idSet), labels: this.#labels() }, ood: this.oodSets.map(of),
      } });
      const content = { format: 1, weights: ensemble.name, report, id, ood };
      download("eloc-evaluation.json", "application/json", JSON.stringify(content, null, 1));
    } catch (error) {
      notice(`The report could not be made. ${error.message}`, "error");
    }
  }

  /** True classes of the in side, [n], where every image has one that the networks know. */
  #labels() {
    const classes = this.#scorer.ensemble.manifest.classes;
    const labels = this.idSet.classNames.map((name) => classes.indexOf(name));
    return labels.includes(-1) ? undefined : Uint16Array.from(labels);
  }
}

/** Those of a folder that are named as images, as the command line takes them; where there is none, all: an archive, say. */
function images(files) {
  const named = files.filter(({ path }) => IMAGE.test(path));
  return named.length > 0 ? named : files;
}

/** At most `limit` of `files`, from all over, since those of a folder come class by class; of known ones the command line takes the same. */
function some(files, limit) {
  if (files.length <= limit) return files;
  return Array.from({ length: limit }, (_, i) => files[Math.floor((i * files.length) / limit)]);
}
