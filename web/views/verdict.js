// What a score means: known or unknown, and by how much.

/** The words of a verdict, in the order that the gallery sorts them. */
export const VERDICTS = {
  known: "Known", unknown: "Unknown", unsettled: "No verdict", provisional: "Provisional", pending: "Waiting",
};

/**
 * The verdict on image `index`. The threshold was calibrated for all folds and the manifest's own settings: with
 * fewer folds the score is provisional, with other settings there is no verdict.
 * @returns {"known" | "unknown" | "unsettled" | "provisional" | "pending"}
 */
export function verdict(scorer, set, index) {
  const folds = set.scored[index];
  if (folds === 0) return "pending";
  if (folds < set.folds.length) return "provisional";
  if (!calibrated(scorer)) return "unsettled";
  return set.scores.eloc[index] >= scorer.ensemble.manifest.threshold ? "known" : "unknown";
}

/** Whether the manifest's threshold holds for the present settings. */
export function calibrated({ ensemble, odin }) {
  const { threshold, odin: own } = ensemble.manifest;
  return threshold !== null && threshold !== undefined && odin.temperature === own.temperature &&
    odin.epsilon === own.epsilon && odin.gradient === own.gradient;
}

/** The least score that `folds` can give together: every network as unsure as it can be, 1/C - ln C each. */
export function leastScore(folds) {
  return folds.reduce((sum, { kept }) => sum + 1 / kept.length - Math.log(kept.length), 0);
}

/**
 * A score of all folds in units of the threshold: 0 where every network is as unsure as it can be, 1 at the threshold.
 * @returns {number | null} null where the threshold does not hold
 */
export function timesThreshold(scorer, score) {
  if (!calibrated(scorer)) return null;
  const { threshold, folds } = scorer.ensemble.manifest;
  const least = leastScore(folds);
  return (score - least) / (threshold - least);
}

/** The score of image `index` in a few words. */
export function scoreText(scorer, set, index) {
  const folds = set.scored[index];
  if (folds === 0) return "not scored yet";
  const score = set.scores.eloc[index];
  if (folds < set.folds.length) return `${folds} of ${set.folds.length} folds`;
  const times = timesThreshold(scorer, score);
  return times === null ? score.toFixed(6) : `${timesText(times)}, known from 1`;
}

/** A score in units of the threshold, cut off, so that nothing below it is written as 1. */
export function timesText(times) {
  const digits = times < 10 ? 2 : 1;
  return (Math.floor(times * 10 ** digits) / 10 ** digits).toFixed(digits);
}

/** The class that the folds together find most probable, by name. */
export function className(scorer, set, index) {
  return set.scored[index] === 0 ? "" : scorer.ensemble.manifest.classes[set.classes[index]];
}
