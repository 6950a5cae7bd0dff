// The study of images that the visitor put on two sides, kept up to date while they are scored.
import { acceptedShare, extent, measure, metricsOf, scoresOf } from "../engine/study.js";
import { throttled } from "./dom.js";
import { csvOf, download, evaluationOf } from "./export.js";
import { Mistakes } from "./mistakes.js";
import { setNotes } from "./notes.js";
import { settings } from "./settings.js";
import { Summary } from "./summary.js";
import { calibrated } from "./verdict.js";
import { json, plural } from "./words.js";

export class ImageStudy {
  kind = "images";
  #scorer;
  #analyst;
  #statistician;
  #intervals;
  #comparison;
  #importer;
  #sides;
  #on;
  #summary = new Summary();
  #working = false;
  #again = false;
  #folds = 0;

  /**
   * @param {{ scorer, analyst, statistician, intervals, comparison, importer, sides }} parts
   * @param {import("./studyview.js").Events} on
   */
  constructor({ scorer, analyst, statistician, intervals, comparison, importer, sides }, on) {
    [this.#scorer, this.#analyst, this.#statistician, this.#intervals] = [scorer, analyst, statistician, intervals];
    [this.#comparison, this.#importer, this.#sides, this.#on] = [comparison, importer, sides, on];
    this.update = throttled(() => this.#update(), 700);
  }

  get available() { return this.#sides.sets.length > 0; }
  get empty() { return "The metrics appear here once both sides have scored images."; }
  get sets() { return this.#sides.oodSets.map(({ name }) => name); }
  get set() { return this.#sides.oodSets.indexOf(this.#sides.oodSet); }
  set set(index) {
    this.#sides.choose(this.#sides.oodSets[index]);
    this.update();
  }
  get scores() { return this.#scorer.ensemble ? this.#scorer.scoreNames : []; }
  get score() { return settings.chosen("score", this.scores); }
  get baselines() { return this.scores.filter(({ id }) => id !== this.score); }

  /** Exports wait for the last score: a file must say what all folds say. */
  get exports() {
    const { sets, idSet, oodSets } = this.#sides;
    const folds = this.#scorer.ensemble?.manifest.folds.length;
    const done = sets.every((set) => set.count > 0 && set.prefix(folds) === set.count);
    const json = Boolean(idSet && oodSets.length && done && !sets.some((set) => this.#importer.reads(set)));
    return { json, csv: sets.length > 0 && Boolean(this.#scorer.ensemble) };
  }

  async exportJson() {
    const { idSet, oodSets } = this.#sides;
    const content = await evaluationOf(this.#scorer, this.#analyst, idSet, oodSets, settings.get("definition"));
    download("eloc-evaluation.json", "application/json", json(content));
  }

  exportCsv() { download("eloc-evaluation.csv", "text/csv", csvOf(this.#scorer, this.#sides.sets, this.#scorer.scoreNames)); }

  async #update() {
    this.#on.listed();
    // One at a time; what comes meanwhile is one more round.
    if (this.#working) { this.#again = true; return; }
    this.#working = true;
    try {
      await this.#study();
    } catch (error) {
      this.#on.failed(this, error);
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
    if (!size) return this.#on.show(this, null);
    const definition = settings.get("definition"), score = this.score;
    const reading = this.#importer.reads(idSet) || this.#importer.reads(oodSet);
    const busy = reading || size.id < idSet.count || size.ood < oodSet.count || size.folds < ensemble.manifest.folds.length;
    const generation = () => `${idSet.generation}|${oodSet.generation}`;
    const made = generation();
    const current = () => made === generation() && idSet === this.#sides.idSet && oodSet === this.#sides.oodSet && this.#on.wants(this);
    const scores = scoresOf(idSet, oodSet, size, scoreNames);
    const { rows, ...study } = await measure(this.#statistician, scores, score, definition);
    // The networks, the settings or the sets may have been changed meanwhile: then these numbers are of no more use.
    if (!current()) return;
    // A sum over more folds lies elsewhere.
    if (this.#folds !== size.folds) this.#on.otherScores();
    this.#folds = size.folds;
    const family = [made, definition, size.folds].join("|"), key = `${family}|${size.id}|${size.ood}|${busy}`;
    const of = (id) => scores.find((other) => other.id === id);
    const { label, pair } = of(score), baseline = of(settings.chosen("baseline", [{ id: "" }, ...this.baselines]));
    const comparedKey = `${key}|${score}|${baseline?.id}`;
    const show = () => {
      const intervals = this.#intervals.known(key, family, busy), found = this.#comparison.known(comparedKey);
      this.#on.show(this, {
        kind: this.kind, rows: rows.map((row) => ({ ...row, intervals: intervals[row.id] })), curves: study.curves,
        names: { id: idSet.name, ood: oodSet.name }, counts: { id: size.id, ood: size.ood }, shown: score, label, definition,
        sentence: this.#sentence(size, busy), notes: setNotes(ensemble.manifest.dataset, oodSet.name, rows),
        at: (threshold) => ({ tpr: acceptedShare(study.id, threshold), fpr: acceptedShare(study.ood, threshold) }),
        // It holds for all folds and the networks' own settings only.
        calibrated: score === "eloc" && calibrated(this.#scorer) && size.folds === ensemble.manifest.folds.length ? ensemble.manifest.threshold : null,
        // Final: every image is scored by all folds, and the intervals have all their resamples.
        thinned: false, final: !busy && rows.every(({ id }) => id in intervals) && (!baseline || Boolean(found)),
        comparison: baseline ? { score: label, baseline: baseline.label, found } : null,
        mistakes: Mistakes.of(idSet, oodSet, size, score),
      });
    };
    show();
    await this.#everySet(idSet, ensemble.manifest.folds.length, { id: score, label }, definition);
    if (baseline && !busy) this.#comparison.fill({ key: comparedKey, definition, pair }, async () => baseline.pair, () => this.update());
    const wanted = busy ? scores.filter(({ id }) => id === "eloc") : scores;
    const fill = this.#intervals.fill({ key, family, scores: wanted, definition, final: !busy }, current, show);
    // While images come, each round has its intervals; the last ones may take long, and stand in nobody's way.
    if (busy) await fill;
    else fill.catch((error) => this.#on.failed(this, error));
  }

  #sentence(size, busy) {
    const { idSet, oodSet } = this.#sides;
    const folds = size.folds < this.#scorer.ensemble.manifest.folds.length ? ` by ${plural(size.folds, "fold")} so far` : "";
    return `${idSet.name} (${plural(size.id, "image")}) against ${oodSet.name} (${plural(size.ood, "image")})${folds}.` +
      (busy ? " Not everything is scored yet." : "");
  }

  /** One score on every out-of-distribution set, of which there are several. */
  async #everySet(idSet, folds, { id, label }, definition) {
    const rows = [];
    for (const set of this.#sides.oodSets) {
      const size = extent(idSet, set, folds);
      if (!size) continue;
      rows.push({ name: set.name, images: size.ood, metrics: await metricsOf(this.#statistician, idSet, set, size, id, definition) });
    }
    if (this.#on.wants(this)) this.#summary.show(label, rows.length > 1 ? rows : []);
  }
}
