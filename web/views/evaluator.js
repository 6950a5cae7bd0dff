// The evaluator: what the scores of its two sides say about the detector, kept up to date, and the files to take away.
import { METRICS, compare, elocIntervals, elocMetrics, extent } from "../engine/study.js";
import { byId, el, onClick, table, throttled, write } from "./dom.js";
import { csvOf, download, evaluationOf } from "./export.js";
import { notice } from "./messages.js";
import { settings } from "./settings.js";
import { Sides } from "./sides.js";
import { StudyView } from "./studyview.js";
import { json, percent } from "./words.js";

/** The panel; sides.js has the sets, studyview.js shows what comes of them. */
export class Evaluator {
  #scorer;
  #analyst;
  #statistician;
  #importer;
  #sides;
  #view;
  #working = false;
  #again = false;
  #intervals = { key: "", value: null };

  /** @param {{ scorer, analyst, statistician, importer, open, closeDetails, room }} parts */
  constructor({ scorer, analyst, statistician, importer, open, closeDetails, room }) {
    [this.#scorer, this.#analyst, this.#statistician, this.#importer] = [scorer, analyst, statistician, importer];
    this.#view = new StudyView(scorer, open);
    this.update = throttled(() => this.#update(), 700);
    this.#sides = new Sides({ scorer, analyst, importer, room }, {
      listed: () => this.#offer(),
      changed: () => this.update(),
      otherShown: () => this.#view.forgetThreshold(),
      removed: closeDetails,
    });
    for (const button of document.querySelectorAll("[data-generate]")) {
      onClick(button, () => this.#sides.generate(button.dataset.generate, button.dataset.side));
    }
    byId("eval-score").addEventListener("input", () => this.otherScores());
    byId("export-json").addEventListener("click", () => this.#exportJson());
    byId("export-eval-csv").addEventListener("click", () =>
      scorer.ensemble && download("eloc-evaluation.csv", "text/csv", csvOf(scorer, this.#sides.sets, scorer.scoreNames)));
    byId("eval-clear").addEventListener("click", () => this.#sides.clear());
  }

  /** Takes dropped or picked items for the side "id" or "ood". */
  take(side, items) { this.#sides.take(side, items); }

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
    write(byId("id-hint"), shapes
      ? "These networks know the built-in set of shapes."
      : `Images of ${manifest.dataset}${file ? `, such as its test file ${file}` : " that these networks were not trained on"}.`);
    const before = byId("eval-score").value;
    byId("eval-score").replaceChildren(...this.#scorer.scoreNames.map(({ id, label }) => el("option", { value: id }, label)));
    if (before) byId("eval-score").value = before;
    this.otherScores();
  }

  /** Exports wait for the last score: a file must say what all folds say. */
  #offer() {
    const { sets, idSet, oodSets } = this.#sides;
    const folds = this.#scorer.ensemble?.manifest.folds.length;
    const done = sets.every((set) => set.count > 0 && set.prefix(folds) === set.count);
    byId("export-json").disabled = !(idSet && oodSets.length && done && !sets.some((set) => this.#importer.reads(set)));
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
    const { idSet, oodSet } = this.#sides;
    const size = ensemble && idSet && oodSet && extent(idSet, oodSet, ensemble.manifest.folds.length);
    byId("study-empty").hidden = Boolean(size);
    if (!size) return this.#view.hide();
    const definition = settings.get("definition"), score = byId("eval-score").value || "eloc";
    const reading = this.#importer.reads(idSet) || this.#importer.reads(oodSet);
    const busy = reading || size.id < idSet.count || size.ood < oodSet.count || size.folds < ensemble.manifest.folds.length;
    const scoreLabel = scoreNames.find(({ id }) => id === score).label;
    const generation = () => `${idSet.generation}|${oodSet.generation}`;
    const made = generation();
    const current = () => made === generation() && idSet === this.#sides.idSet && oodSet === this.#sides.oodSet;
    const study = await compare(this.#statistician, idSet, oodSet, size, { scoreNames, score, definition });
    // The networks, the settings or the sets may have been changed meanwhile: then these numbers are of no more use.
    if (!current()) return;
    const key = [made, definition, size.folds].join("|");
    const grown = `${key}|${size.id}|${size.ood}|${busy}`;
    const show = () => {
      const { key: of, value } = this.#intervals;
      // While images still come, the intervals of fewer images do.
      const fit = of === grown || busy && of.startsWith(`${key}|`);
      this.#view.show({ ...study, idSet, oodSet, size, score, scoreLabel, busy, intervals: fit ? value : null });
    };
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
    for (const set of this.#sides.oodSets) {
      const size = extent(idSet, set, folds);
      if (!size) continue;
      const metrics = await elocMetrics(this.#statistician, idSet, set, size, definition);
      rows.push([set.name, String(size.ood), ...METRICS.map(([key]) => percent(metrics[key]))]);
    }
    byId("eval-summary").replaceChildren(rows.length > 1
      ? table("ELOC on every set, in percent", ["Out-of-distribution set", "Images", ...METRICS.map(([, label]) => label)], rows)
      : "");
  }

  async #exportJson() {
    this.#offer();
    if (byId("export-json").disabled) return;
    const { idSet, oodSets } = this.#sides;
    try {
      const content = await evaluationOf(this.#scorer, this.#analyst, idSet, oodSets, settings.get("definition"));
      download("eloc-evaluation.json", "application/json", json(content));
    } catch (error) {
      notice(`The report could not be made. ${error.message}`, "error");
    }
  }
}
