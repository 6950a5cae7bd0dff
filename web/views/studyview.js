// Shows one study, of whatever origin: the metric table, the plots with their tables, and the threshold.
import { METRICS } from "../engine/study.js";
import { showComparison } from "./comparison.js";
import { byId, el, table, write } from "./dom.js";
import { downloadPlot } from "./export.js";
import { histogramPlot, precisionRecallPlot, rocPlot } from "./plot.js";
import { percent, whole } from "./words.js";

/** Rows of the tables beside the plots. */
const ROWS = 20;
const STEPS = 1000;

/**
 * What is shown.
 * @typedef {object} Study
 * @property {string} kind where it comes from: "measured", "images" or "scores"
 * @property {{ id: string, ood: string }} names of both sides
 * @property {{ id: number, ood: number }} counts of their images
 * @property {string} sentence what is compared
 * @property {string[]} notes what has to be known beside the table
 * @property {{ id: string, label: string, metrics: object, intervals?: object }[]} rows one for each score
 * @property {string} shown the score of the plots, by its id
 * @property {string} label the same score in words
 * @property {string} definition of the metrics
 * @property {object | null} curves as the module gives them; null where there are none
 * @property {((threshold: number) => { tpr: number, fpr: number }) | null} at shares of both sides from a threshold on
 * @property {number | null} calibrated the networks' own threshold, where it holds
 * @property {boolean} thinned whether the curves have only a few of their points
 * @property {{ score: string, baseline: string, found: object | null } | null} comparison of the score with another, in words, and
 *   what came of it
 * @property {boolean} final whether nothing more comes
 */

/**
 * What a study tells the evaluator. `source` is the study itself.
 * @typedef {object} Events
 * @property {() => void} listed what there is to choose has changed
 * @property {() => void} otherScores a threshold that was chosen means nothing any more
 * @property {(source, study: Study | null) => void} show here is what to show
 * @property {(source, error: Error) => void} failed it cannot be measured
 * @property {(source) => boolean} wants whether this study is the one that is shown
 */

/** The view; `show` gives it something to show. */
export class StudyView {
  #definitions;
  #thresholdMoved;
  /** @type {Study | null} */
  #study = null;
  /** Chosen by the visitor, or null: 95% of the known side. */
  #threshold = null;

  /**
   * @param {Promise<{ id: string, words: string }[]>} definitions of the metrics, in words
   * @param {(study: Study, threshold: number) => void} thresholdMoved is called with every threshold that is shown
   */
  constructor(definitions, thresholdMoved) {
    this.#thresholdMoved = thresholdMoved;
    definitions.then((all) => {
      this.#definitions = new Map(all.map(({ id, words }) => [id, words]));
      if (this.#study) this.#words();
    }, () => {});
    byId("threshold").addEventListener("input", () => {
      const { idHistogram: { low, high } } = this.#study.curves;
      this.#moveTo(low + (Number(byId("threshold").value) / STEPS) * (high - low));
    });
    byId("threshold-reset").addEventListener("click", () => this.#moveTo(null));
    byId("threshold-calibrated").addEventListener("click", () => this.#moveTo(this.#study.calibrated));
    for (const name of ["histogram", "roc", "pr"]) {
      byId(`${name}-svg`).addEventListener("click", () => downloadPlot(`eloc-${name}.svg`, byId(`plot-${name}`).querySelector("svg")));
    }
  }

  /** What is shown; null for nothing. */
  get study() { return this.#study; }

  /** Other scores are shown: a threshold of the last ones means nothing for them. */
  forgetThreshold() { this.#threshold = null; }

  /** @param {Study | null} study */
  show(study) {
    this.#study = study;
    byId("study").hidden = !study;
    byId("study").dataset.final = String(Boolean(study?.final));
    byId("study").dataset.kind = study?.kind ?? "";
    if (!study) return;
    write(byId("study-size"), study.sentence);
    byId("study-notes").replaceChildren(...study.notes.map((text) => el("p", { class: "note" }, text)));
    this.#metricTable();
    showComparison(study.comparison);
    this.#words();
    byId("curves").hidden = !study.curves;
    if (!study.curves) return this.#thresholdMoved(study, NaN);
    byId("thinned").hidden = !study.thinned;
    this.#curveTables();
    this.#atThreshold();
  }

  #words() { byId("definition-words").textContent = this.#definitions?.get(this.#study.definition) ?? ""; }

  #metricTable() {
    const { rows, final } = this.#study;
    const cells = rows.map(({ id, label, metrics, intervals }) => [el("span", { "data-score": id }, label), ...METRICS.map(([key]) => {
      if (metrics.error) return "not defined";
      const range = intervals?.[key];
      return el("span", { "data-metric": key, "data-value": metrics[key] ?? "" }, percent(metrics[key]),
        range ? el("small", { class: "interval" }, ` ${percent(range.low)} to ${percent(range.high)}`) : null);
    })]);
    const resamples = rows.find(({ intervals }) => intervals)?.intervals.resamples;
    const note = resamples ? `; intervals: 95%, ${whole(resamples)} bootstrap resamples${final ? "" : ", still being computed"}`
      : final ? "" : "; intervals are being computed";
    byId("metrics").replaceChildren(
      table(`Metrics in percent${note}`, ["Score", ...METRICS.map(([, label]) => label)], cells, { id: "metric-table" }));
  }

  #moveTo(threshold) {
    this.#threshold = threshold;
    this.#atThreshold();
  }

  /** Draws what depends on the threshold. */
  #atThreshold() {
    const { curves, names, counts, label, calibrated, thinned } = this.#study;
    const threshold = this.#threshold ?? curves.thresholdAt95Tpr;
    const { low, high } = curves.idHistogram;
    const at = this.#study.at(threshold);
    byId("threshold").value = ((threshold - low) / (high - low || 1)) * STEPS;
    byId("threshold").setAttribute("aria-valuetext", threshold.toFixed(6));
    byId("threshold-reset").disabled = this.#threshold === null;
    byId("threshold-calibrated").disabled = calibrated === null || this.#threshold === calibrated;
    byId("plot-histogram").replaceChildren(histogramPlot({ id: curves.idHistogram, ood: curves.oodHistogram, threshold,
      label: `${label}, higher is more known`, names: [`In: ${names.id}`, `Out: ${names.ood}`] }));
    byId("plot-roc").replaceChildren(rocPlot({ points: curves.roc, at }));
    const accepted = (share, count) => `${thinned ? "about " : ""}${whole(Math.round(share * count))} of ${whole(count)}`;
    byId("threshold-table").replaceChildren(table(`At the threshold${this.#threshold === null ? " of 95% TPR" : ""}`,
      ["Threshold", "TPR", "FPR", "Known side accepted", "Unknown side accepted"],
      [[el("span", { id: "threshold-value", "data-value": threshold }, threshold.toFixed(6)),
        el("span", { id: "threshold-tpr", "data-value": at.tpr }, `${percent(at.tpr)} %`),
        el("span", { id: "threshold-fpr", "data-value": at.fpr }, `${percent(at.fpr)} %`),
        accepted(at.tpr, counts.id), accepted(at.fpr, counts.ood)]]));
    this.#thresholdMoved(this.#study, threshold);
  }

  #curveTables() {
    const { curves, names } = this.#study;
    const { idHistogram: inside, oodHistogram: outside, roc, prIn, prOut } = curves;
    const width = (inside.high - inside.low) / inside.counts.length;
    byId("plot-pr").replaceChildren(precisionRecallPlot({ prIn, prOut, names: ["In as positive", "Out as positive"] }));
    const bins = inside.counts.map((count, i) => [(inside.low + i * width).toFixed(6), count, outside.counts[i]]);
    fill("histogram-data", table("Images per bin of the score", ["From", names.id, names.ood], bins));
    fill("roc-data", table("Points of the ROC curve", ["FPR", "TPR"], thinned(roc).map(({ fpr, tpr }) => [fpr.toFixed(4), tpr.toFixed(4)])));
    const pair = ({ recall, precision }) => [recall.toFixed(4), precision.toFixed(4)];
    fill("pr-data",
      table("In as positive", ["Recall", "Precision"], thinned(prIn).map(pair)),
      table("Out as positive", ["Recall", "Precision"], thinned(prOut).map(pair)));
  }
}

/** Fills a table that a visitor may have open, without closing it. */
function fill(id, ...tables) { byId(id).replaceChildren(...tables); }

function thinned(points) {
  if (points.length <= ROWS) return points;
  return Array.from({ length: ROWS }, (_, i) => points[Math.round((i * (points.length - 1)) / (ROWS - 1))]);
}
