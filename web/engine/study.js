// One comparison of the evaluator: an in-distribution and an out-of-distribution set, as far as they are scored.

/** The metrics and what they are called, in the order of the papers. */
export const METRICS = [
  ["fpr_at_95_tpr", "FPR at 95% TPR"], ["detection_error", "Detection error"], ["auroc", "AUROC"],
  ["aupr_in", "AUPR-In"], ["aupr_out", "AUPR-Out"],
];

const BINS_MAX = 60;
const CURVE_POINTS = 400;
/** With fewer images on a side, all folds say less than one fold says about more images. */
const ENOUGH = 50;

/**
 * How many folds, and how many images of each side, the metrics can be made of now: all folds once they have seen
 * enough images, else the number of folds that has seen most.
 * @returns {{ folds: number, id: number, ood: number } | null} null with fewer than one image on a side
 */
export function extent(idSet, oodSet, folds) {
  let best = null;
  for (let k = folds; k >= 1; k--) {
    const id = idSet.prefix(k), ood = oodSet.prefix(k);
    if (id === 0 || ood === 0) continue;
    const whole = id === idSet.count && ood === oodSet.count;
    if (k === folds && (whole || Math.min(id, ood) >= ENOUGH)) return { folds: k, id, ood };
    if (!best || id + ood > best.id + best.ood) best = { folds: k, id, ood };
  }
  return best;
}

/**
 * Scores of two sides to measure.
 * @typedef {{ id: string, label: string, pair: { id: Float64Array, ood: Float64Array } }} SidedScore
 */

/** Every score of two image sets, as far as `size` says. @returns {SidedScore[]} */
export function scoresOf(idSet, oodSet, size, scoreNames) {
  return scoreNames.map(({ id, label }) => ({ id, label, pair: pairOf(idSet, oodSet, size, id) }));
}

/**
 * Metrics of every score, and curves of the one that is `shown`.
 * @param {import("./analyst.js").Analyst} analyst
 * @param {SidedScore[]} scores
 * @param {object[] | null} known the metrics, where they were computed before
 * @returns {Promise<{ rows: object[], curves: object, id: Float64Array, ood: Float64Array }>}
 *   rows: per score { id, label, metrics }; id and ood: values of the one shown, sorted
 */
export async function measure(analyst, scores, shown, definition, known = null) {
  const { pair } = scores.find(({ id }) => id === shown);
  // Few images in many bins would be a comb.
  const bins = Math.min(BINS_MAX, 8 + Math.round(2 * Math.sqrt(Math.min(pair.id.length, pair.ood.length))));
  const [metrics, curves] = await Promise.all([
    known ?? analyst.ask("metrics", { pairs: scores.map((score) => score.pair), definition }),
    analyst.ask("curves", { ...pair, bins, points: CURVE_POINTS }),
  ]);
  const rows = scores.map(({ id, label }, i) => ({ id, label, metrics: metrics[i] }));
  return { rows, curves, id: pair.id.slice().sort(), ood: pair.ood.slice().sort() };
}

/** Metrics of one score of two image sets. */
export async function metricsOf(analyst, idSet, oodSet, size, score, definition) {
  const [metrics] = await analyst.ask("metrics", { pairs: [pairOf(idSet, oodSet, size, score)], definition });
  return metrics;
}

/** The mean of each metric over several sets; null where one of them has none. */
export function meanOf(sets) {
  const mean = (values) => (values.every((value) => value != null) ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
  return Object.fromEntries(METRICS.map(([key]) => [key, mean(sets.map((metrics) => metrics[key]))]));
}

/** Values of a score on both sides, as far as `size` says. */
function pairOf(idSet, oodSet, size, score) {
  return { id: idSet.scores[score].slice(0, size.id), ood: oodSet.scores[score].slice(0, size.ood) };
}

/** The metrics as the module's table takes them; with intervals where all rows have some. */
export function tableOf({ rows, definition, counts }) {
  const sound = rows.filter(({ metrics }) => !metrics.error);
  const whole = sound.every(({ intervals }) => intervals);
  const scores = sound.map(({ label, metrics, intervals }) => ({
    score: label, ...Object.fromEntries(METRICS.map(([key]) => [key, metrics[key] ?? null])), ...(whole ? { intervals } : {}),
  }));
  return { definition, id_images: counts.id, ood_images: counts.ood, scores };
}

/** Share of `sorted` that is at least `threshold`: the true or false positive rate. */
export function acceptedShare(sorted, threshold) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < threshold) low = middle + 1;
    else high = middle;
  }
  return sorted.length === 0 ? 0 : (sorted.length - low) / sorted.length;
}

/** The first `count` images of `set` with their values of `score`, the lowest first. @returns {{ index: number, value: number }[]} */
export function lowestFirst(set, count, score) {
  return Array.from(set.scores[score].subarray(0, count), (value, index) => ({ index, value })).sort((a, b) => a.value - b.value);
}
