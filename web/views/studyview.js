// Shows one comparison: the metric table, the plots with their tables, the threshold and the worst mistakes.
import { METRICS, acceptedShare, lowestFirst } from "../engine/study.js";
import { fillCard, newCard } from "./card.js";
import { byId, el, table, write } from "./dom.js";
import { downloadPlot } from "./export.js";
import { histogramPlot, precisionRecallPlot, rocPlot } from "./plot.js";
import { calibrated } from "./verdict.js";
import { percent, plural, whole } from "./words.js";

/** Rows of the tables beside the plots. */
const ROWS = 20;
const STEPS = 1000;
const WORST = 12;

/** The view; `show` gives it something to show. */
export class StudyView {
  #scorer;
  #open;
  #study = null;
  /** Chosen by the visitor, or null: 95% of the known side. */
  #threshold = null;
  #mistakes = "";

  constructor(scorer, open) {
    this.#scorer = scorer;
    this.#open = open;
    byId("threshold").addEventListener("input", () => {
      const { idHistogram: { low, high } } = this.#study.curves;
      this.#moveTo(low + (Number(byId("threshold").value) / STEPS) * (high - low));
    });
    byId("threshold-reset").addEventListener("click", () => this.#moveTo(null));
    byId("threshold-calibrated").addEventListener("click", () => this.#moveTo(this.#scorer.ensemble.manifest.threshold));
    for (const name of ["histogram", "roc", "pr"]) {
      byId(`${name}-svg`).addEventListener("click", () => downloadPlot(`eloc-${name}.svg`, byId(`plot-${name}`).querySelector("svg")));
    }
  }

  /** Other scores are shown: a threshold of the last ones means nothing for them. */
  forgetThreshold() { this.#threshold = null; }

  /**
   * @param {{ idSet, oodSet, size, score, scoreLabel, rows, curves, id, ood, intervals: object | null, busy: boolean }} study
   */
  show(study) {
    const { idSet, oodSet, size, score } = study;
    // A sum over more folds lies elsewhere.
    if (this.#study?.size.folds !== size.folds) this.forgetThreshold();
    this.#study = { ...study, sides: [
      { side: "id", set: idSet, worst: lowestFirst(idSet, size.id, score).slice(0, WORST) },
      { side: "ood", set: oodSet, worst: lowestFirst(oodSet, size.ood, score).slice(-WORST).reverse() },
    ] };
    byId("study").hidden = false;
    // Final: every image is scored by all folds, and the intervals have all their resamples.
    byId("study").dataset.final = String(!study.busy && study.intervals !== null);
    write(byId("study-size"), this.#sizeSentence(study));
    this.#metricTable(study);
    this.#curveTables(study);
    this.#atThreshold();
  }

  hide() {
    this.#study = null;
    byId("study").hidden = true;
    byId("metrics-problem").textContent = "";
  }

  #sizeSentence({ idSet, oodSet, size, busy }) {
    const folds = size.folds < this.#scorer.ensemble.manifest.folds.length ? ` by ${plural(size.folds, "fold")} so far` : "";
    return `${idSet.name} (${plural(size.id, "image")}) against ${oodSet.name} (${plural(size.ood, "image")})${folds}.` +
      (busy ? " Not everything is scored yet." : "");
  }

  #metricTable({ rows, intervals }) {
    const cells = rows.map(({ id, label, metrics }) => [el("span", { "data-score": id }, label), ...METRICS.map(([key]) => {
      if (metrics.error) return "not defined";
      const range = id === "eloc" ? intervals?.[key] : null;
      return el("span", { "data-metric": key, "data-value": metrics[key] ?? "" }, percent(metrics[key]),
        range ? el("small", { class: "interval" }, ` ${percent(range.low)} to ${percent(range.high)}`) : null);
    })]);
    const note = intervals ? `; intervals: 95%, ${whole(intervals.resamples)} bootstrap resamples` : "";
    byId("metrics").replaceChildren(
      table(`Metrics in percent${note}`, ["Score", ...METRICS.map(([, label]) => label)], cells, { id: "metric-table" }));
    const failed = rows.find(({ metrics }) => metrics.error);
    byId("metrics-problem").textContent = failed ? failed.metrics.error : "";
  }

  #moveTo(threshold) {
    this.#threshold = threshold;
    this.#atThreshold();
  }

  /** Draws what depends on the threshold. */
  #atThreshold() {
    const { curves, id, ood, idSet, oodSet, size, scoreLabel, score } = this.#study;
    const threshold = this.#threshold ?? curves.thresholdAt95Tpr;
    const { low, high } = curves.idHistogram;
    const at = { tpr: acceptedShare(id, threshold), fpr: acceptedShare(ood, threshold) };
    const names = [`In: ${idSet.name}`, `Out: ${oodSet.name}`];
    byId("threshold").value = ((threshold - low) / (high - low || 1)) * STEPS;
    byId("threshold").setAttribute("aria-valuetext", threshold.toFixed(6));
    byId("threshold-reset").disabled = this.#threshold === null;
    // It holds for all folds and the networks' own settings only.
    const { ensemble } = this.#scorer;
    byId("threshold-calibrated").disabled = !ensemble || score !== "eloc" || !calibrated(this.#scorer) ||
      size.folds < ensemble.manifest.folds.length || this.#threshold === ensemble.manifest.threshold;
    byId("plot-histogram").replaceChildren(
      histogramPlot({ id: curves.idHistogram, ood: curves.oodHistogram, threshold, label: `${scoreLabel}, higher is more known`, names }));
    byId("plot-roc").replaceChildren(rocPlot({ points: curves.roc, at }));
    byId("threshold-table").replaceChildren(table(`At the threshold${this.#threshold === null ? " of 95% TPR" : ""}`,
      ["Threshold", "TPR", "FPR", "Known side accepted", "Unknown side accepted"],
      [[el("span", { id: "threshold-value", "data-value": threshold }, threshold.toFixed(6)),
        el("span", { id: "threshold-tpr", "data-value": at.tpr }, `${percent(at.tpr)} %`),
        el("span", { id: "threshold-fpr", "data-value": at.fpr }, `${percent(at.fpr)} %`),
        `${whole(Math.round(at.tpr * id.length))} of ${whole(id.length)}`, `${whole(Math.round(at.fpr * ood.length))} of ${whole(ood.length)}`]]));
    this.#mistakesAt(threshold);
  }

  #curveTables({ curves, idSet, oodSet }) {
    const { idHistogram: inside, oodHistogram: outside, roc, prIn, prOut } = curves;
    const width = (inside.high - inside.low) / inside.counts.length;
    byId("plot-pr").replaceChildren(precisionRecallPlot({ prIn, prOut, names: ["In as positive", "Out as positive"] }));
    const bins = inside.counts.map((count, i) => [(inside.low + i * width).toFixed(6), count, outside.counts[i]]);
    fill("histogram-data", table("Images per bin of the score", ["From", idSet.name, oodSet.name], bins));
    fill("roc-data", table("Points of the ROC curve", ["FPR", "TPR"], thinned(roc).map(({ fpr, tpr }) => [fpr.toFixed(4), tpr.toFixed(4)])));
    const pair = ({ recall, precision }) => [recall.toFixed(4), precision.toFixed(4)];
    fill("pr-data",
      table("In as positive", ["Recall", "Precision"], thinned(prIn).map(pair)),
      table("Out as positive", ["Recall", "Precision"], thinned(prOut).map(pair)));
  }

  #mistakesAt(threshold) {
    const wrong = this.#study.sides.map(({ side, set, worst }) =>
      ({ side, set, images: worst.filter(({ value }) => (value >= threshold) === (side === "ood")) }));
    // The same pictures are left alone, with the focus that one of them may have.
    const state = JSON.stringify(wrong.map(({ set, images }) => [set.generation, images]));
    if (state === this.#mistakes) return;
    this.#mistakes = state;
    for (const { side, set, images } of wrong) {
      byId(`worst-${side}-none`).hidden = images.length > 0;
      byId(`worst-${side}`).replaceChildren(...images.map(({ index, value }) => {
        const card = newCard(() => this.#open(set, index));
        fillCard(card, this.#scorer, set, index);
        // The verdict is by another threshold, and perhaps another score.
        card.querySelector(".badge").remove();
        card.querySelector(".card-score").textContent = value.toPrecision(6);
        return card;
      }));
    }
  }
}

/** Fills a table that a visitor may have open, without closing it. */
function fill(id, ...tables) { byId(id).replaceChildren(...tables); }

function thinned(points) {
  if (points.length <= ROWS) return points;
  return Array.from({ length: ROWS }, (_, i) => points[Math.round((i * (points.length - 1)) / (ROWS - 1))]);
}
