// The evaluator: shows one of three studies, the walk through stored results, the visitor's images or the visitor's scores, and
// gives the files to take away. The two sides are where images and files of scores come in.
import { Comparison, Intervals } from "../engine/intervals.js";
import { parted } from "../engine/scorefiles.js";
import { tableOf } from "../engine/study.js";
import { byId, el, onClick, write } from "./dom.js";
import { download } from "./export.js";
import { ImageStudy } from "./imagestudy.js";
import { notice } from "./messages.js";
import { Mistakes } from "./mistakes.js";
import { ScoreStudy } from "./scorestudy.js";
import { settings } from "./settings.js";
import { Sides } from "./sides.js";
import { StudyView } from "./studyview.js";
import { publishedBeside } from "./tables.js";
import { WalkThrough } from "./walkthrough.js";

/** The ending and type of each form of the table. */
const FORMS = { csv: ["csv", "text/csv"], markdown: ["md", "text/markdown"], latex: ["tex", "application/x-tex"] };

/** The panel. */
export class Evaluator {
  #scorer;
  #statistician;
  #sides;
  #view;
  /** By kind, in the order of the choice. */
  #sources;
  #current = "measured";

  /** @param {{ scorer, analyst, statistician, resampler, importer, open, closeDetails, room }} parts */
  constructor({ scorer, analyst, statistician, resampler, importer, open, closeDetails, room }) {
    [this.#scorer, this.#statistician] = [scorer, statistician];
    const mistakes = new Mistakes(scorer, open);
    this.#view = new StudyView(analyst.ask("definitions"), (study, threshold) => mistakes.show(study, threshold));
    const on = {
      listed: () => this.#offer(),
      otherScores: () => this.#view.forgetThreshold(),
      show: (source, study) => this.#show(source, study),
      failed: (source, error) => this.#failed(source, error),
      wants: (source) => source.kind === this.#current,
    };
    this.#sides = new Sides({ scorer, analyst, importer, room }, {
      listed: () => this.#offer(),
      changed: () => this.#sources.images.update(),
      otherShown: () => this.#view.forgetThreshold(),
      removed: closeDetails,
    });
    const background = () => ({ intervals: new Intervals(resampler), comparison: new Comparison(resampler) });
    this.#sources = {
      measured: new WalkThrough(scorer, on),
      images: new ImageStudy({ scorer, analyst, statistician, importer, sides: this.#sides, ...background() }, on),
      scores: new ScoreStudy({ statistician, ...background() }, on),
    };
    this.#bind();
    this.#offer();
  }

  get #source() { return this.#sources[this.#current]; }

  /** Takes dropped or picked items for the side "id" or "ood": images, or files of scores. */
  async take(side, items) {
    const { scores, others } = parted(items);
    if (others.length > 0) {
      this.#sides.take(side, others);
      this.#turnTo("images");
    }
    if (scores.length > 0 && await this.#sources.scores.take(side, scores)) this.#turnTo("scores");
  }

  /** Scores came in, or the definition of the metrics is another. */
  update() { this.#source.update(); }

  /** Other scores are to be shown, or the same of other networks or settings. */
  otherScores() {
    this.#view.forgetThreshold();
    this.#offer();
    this.update();
  }

  /** Another ensemble: its scores, and its kind of generated known images. */
  ensembleChanged() {
    const { manifest } = this.#scorer.ensemble;
    const shapes = manifest.dataset === "shapes";
    byId("generate-id-shapes").hidden = !shapes;
    const file = { cifar10: "test_batch.bin", cifar100: "test.bin" }[manifest.dataset];
    write(byId("id-hint"), (shapes
      ? "These networks know the built-in set of shapes."
      : `Images of ${manifest.dataset}${file ? `, such as its test file ${file}` : " that these networks were not trained on"}.`) +
      " Or a file of any classifier's scores for known images.");
    this.#sources.measured.take(undefined);
    this.otherScores();
  }

  /** The results stored with the networks in use; null where there are none. */
  takeMeasured(results) { this.#sources.measured.take(results); }

  #bind() {
    for (const button of document.querySelectorAll("[data-generate]")) {
      onClick(button, async () => {
        await this.#sides.generate(button.dataset.generate, button.dataset.side);
        this.#turnTo("images");
      });
    }
    for (const kind of Object.keys(this.#sources)) byId(`show-${kind}`).addEventListener("input", () => this.#turnTo(kind));
    byId("eval-ood-choice").addEventListener("input", ({ target }) => { this.#source.set = target.selectedIndex; });
    for (const name of ["score", "baseline"]) {
      // The first of each stands for what the address does not say.
      byId(`eval-${name}`).addEventListener("input", ({ target }) => settings.set({ [name]: target.selectedIndex === 0 ? null : target.value }));
    }
    onClick(byId("export-json"), () => this.#exported(() => this.#source.exports.json && this.#source.exportJson()));
    byId("export-eval-csv").addEventListener("click", () => this.#sources.images.exportCsv());
    onClick(byId("export-table"), () => this.#exported(() => this.#exportTable(byId("export-form").value)));
    byId("eval-clear").addEventListener("click", () => {
      this.#sides.clear();
      this.#sources.scores.clear();
    });
  }

  /** Shows another study. */
  #turnTo(kind) {
    if (kind === this.#current) return this.#offer();
    this.#current = kind;
    this.#view.forgetThreshold();
    this.#show(this.#source, null);
    byId("eval-summary").replaceChildren();
    byId("below-chance").hidden = true;
    this.#offer();
    this.update();
  }

  /** What can be chosen and taken away now. */
  #offer() {
    // The last of what was dropped is gone.
    if (this.#sources && this.#current !== "measured" && !this.#source.available) return this.#turnTo("measured");
    for (const [kind, source] of Object.entries(this.#sources ?? {})) {
      byId(`show-${kind}`).checked = kind === this.#current;
      byId(`show-${kind}-label`).hidden = kind !== "measured" && !source.available;
    }
    if (!this.#sources) return;
    byId("show").hidden = !this.#sources.images.available && !this.#sources.scores.available;
    const { sets, set, scores, score, baselines, exports } = this.#source;
    fill(byId("eval-ood-choice"), sets.map((name) => [name, name]));
    byId("eval-ood-choice").selectedIndex = set;
    fill(byId("eval-score"), scores.map(({ id, label }) => [id, label]));
    byId("eval-score").value = score;
    const others = [{ id: "", label: "no other score" }, ...baselines];
    fill(byId("eval-baseline"), others.map(({ id, label }) => [id, label]));
    byId("eval-baseline").value = settings.chosen("baseline", others);
    byId("eval-baseline-label").hidden = baselines.length === 0;
    byId("scores-options").hidden = this.#current !== "scores";
    byId("export-json").disabled = !exports.json;
    byId("export-eval-csv").disabled = !this.#sources.images.exports.csv;
    byId("export-table").disabled = !this.#view.study;
    byId("eval-clear").disabled = !this.#sources.images.available && !this.#sources.scores.available;
  }

  #show(source, study) {
    if (source.kind !== this.#current) return;
    byId("metrics-problem").textContent = study?.rows.find(({ metrics }) => metrics.error)?.metrics.error ?? "";
    byId("study-empty").hidden = Boolean(study);
    write(byId("study-empty"), source.empty);
    this.#view.show(study);
    if (study) publishedBeside(byId("beside"), this.#scorer.ensemble?.manifest.dataset, source.kind === "scores" ? "" : study.names.ood);
    byId("export-table").disabled = !study;
  }

  #failed(source, error) {
    if (source.kind !== this.#current) return;
    this.#show(source, null);
    byId("study-empty").hidden = true;
    byId("metrics-problem").textContent = error.message;
  }

  async #exported(work) {
    try {
      await work();
    } catch (error) {
      notice(`The file could not be made. ${error.message}`, "error");
    }
  }

  async #exportTable(form) {
    const [ending, type] = FORMS[form];
    download(`eloc-metrics.${ending}`, type, `${await this.#statistician.ask("tableAs", { table: tableOf(this.#view.study), format: form })}\n`);
  }
}

/** Puts options into a choice, where they are not there already: an open list would close. */
function fill(select, options) {
  const state = JSON.stringify(options);
  if (select.dataset.filled === state) return;
  select.dataset.filled = state;
  select.replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));
}
