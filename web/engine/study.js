// One comparison of the evaluator: an in-distribution and an out-of-distribution set, as far as they are scored.

/** The metrics and what they are called, in the order of the papers. */
export const METRICS = [
  ["fpr_at_95_tpr", "FPR at 95% TPR"], ["detection_error", "Detection error"], ["auroc", "AUROC"],
  ["aupr_in", "AUPR-In"], ["aupr_out", "AUPR-Out"],
];

/** Settings of the bootstrap: fewer resamples while scores still come in. */
const RESAMPLES = { live: 200, final: 1000 };
const SEED = 0;
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
 * Metrics of every score, and curves of one.
 * @param {import("./analyst.js").Analyst} analyst
 * @returns {Promise<{ rows: object[], curves: object, id: Float64Array, ood: Float64Array }>}
 *   rows: per score { id, label, metrics }; id and ood: values of `score`, sorted
 */
export async function compare(analyst, idSet, oodSet, size, { scoreNames, score, definition }) {
  const pairs = scoreNames.map(({ id }) => pair(idSet, oodSet, size, id));
  const shown = pairs[scoreNames.findIndex(({ id }) => id === score)];
  // Few images in many bins would be a comb.
  const bins = Math.min(BINS_MAX, 8 + Math.round(2 * Math.sqrt(Math.min(size.id, size.ood))));
  const [metrics, curves] = await Promise.all([
    analyst.ask("metrics", { pairs, definition }),
    analyst.ask("curves", { ...shown, bins, points: CURVE_POINTS }),
  ]);
  const rows = scoreNames.map(({ id, label }, i) => ({ id, label, metrics: metrics[i] }));
  return { rows, curves, id: shown.id.sort(), ood: shown.ood.sort() };
}

/** Metrics of the ensemble's score. */
export async function elocMetrics(analyst, idSet, oodSet, size, definition) {
  const [metrics] = await analyst.ask("metrics", { pairs: [pair(idSet, oodSet, size, "eloc")], definition });
  return metrics;
}

/** Bootstrap intervals of the ensemble's score. */
export function elocIntervals(analyst, idSet, oodSet, size, { definition, final }) {
  const resamples = final ? RESAMPLES.final : RESAMPLES.live;
  return analyst.ask("intervals", { ...pair(idSet, oodSet, size, "eloc"), definition, resamples, seed: SEED });
}

/** Values of a score on both sides, as far as `size` says. */
function pair(idSet, oodSet, size, score) {
  return { id: idSet.scores[score].slice(0, size.id), ood: oodSet.scores[score].slice(0, size.ood) };
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
