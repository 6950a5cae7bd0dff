// What the command line measured and stored, as a study to walk through: its metrics are exact, its curves have a few points each.
//
// In: results.json. Out: what StudyView shows.

/**
 * One set and score of stored results.
 * @param {object} results as `eloc evaluate --json` writes them
 * @param {number} index of the set
 * @param {string} shown the score of the plots
 * @param {{ id: string, label: string }[]} scoreNames
 */
export function measuredStudy(results, index, shown, scoreNames) {
  const set = results.ood[index];
  const labels = new Map(scoreNames.map(({ id, label }) => [id, label]));
  const rows = set.scores.map(({ score, curves, intervals, ...metrics }) =>
    ({ id: score, label: labels.get(score) ?? score, metrics, intervals: intervals ?? null }));
  const counts = { id: results.id.images, ood: set.images };
  const { curves } = set.scores.find(({ score }) => score === shown);
  return {
    rows, counts, shown, label: labels.get(shown) ?? shown, definition: results.definition,
    names: { id: results.id.name, ood: set.name },
    curves: curves ? plotted(curves, counts) : null,
    at: curves ? (threshold) => between(curves.points, threshold) : null,
  };
}

/** The curves as the module gives those of images. @param {{ low, high, id, ood, points: [number, number, number][] }} curves */
function plotted({ low, high, id, ood, points }, counts) {
  const histogram = (bins) => ({ low, high, counts: bins, below: 0, above: 0 });
  const inward = points.filter(([, fpr, tpr]) => fpr + tpr > 0);
  const outward = points.filter(([, fpr, tpr]) => fpr + tpr < 2);
  const share = (found, others) => found / (found + others);
  return {
    idHistogram: histogram(id), oodHistogram: histogram(ood),
    roc: [{ fpr: 0, tpr: 0 }, ...points.map(([, fpr, tpr]) => ({ fpr, tpr })), { fpr: 1, tpr: 1 }],
    prIn: inward.map(([, fpr, tpr]) => ({ recall: tpr, precision: share(tpr * counts.id, fpr * counts.ood) })),
    prOut: outward.map(([, fpr, tpr]) =>
      ({ recall: 1 - fpr, precision: share((1 - fpr) * counts.ood, (1 - tpr) * counts.id) })).reverse(),
    thresholdAt95Tpr: thresholdAt(points, 0.95),
  };
}

/** Shares of both sides with scores of at least `threshold`: on a straight line between the points beside it. */
function between(points, threshold) {
  const after = points.findIndex(([at]) => at <= threshold);
  if (after === -1) return { fpr: points.at(-1)[1], tpr: points.at(-1)[2] };
  const [low, lowFpr, lowTpr] = points[after];
  if (after === 0) return threshold > low ? { fpr: 0, tpr: 0 } : { fpr: lowFpr, tpr: lowTpr };
  const [high, highFpr, highTpr] = points[after - 1];
  const part = (high - threshold) / (high - low);
  return { fpr: highFpr + part * (lowFpr - highFpr), tpr: highTpr + part * (lowTpr - highTpr) };
}

/** The threshold that the share `tpr` of known images reaches, between the points beside it. */
function thresholdAt(points, tpr) {
  const after = points.findIndex(([, , found]) => found >= tpr);
  if (after <= 0) return points.at(after)[0];
  const [[high, , more], [low, , less]] = [points[after - 1], points[after]];
  return high + ((tpr - more) / (less - more)) * (low - high);
}
