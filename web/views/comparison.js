// How a score differs from another of the same images: a small table, and what it says in words.
import { METRICS } from "../engine/study.js";
import { byId, el, table, write } from "./dom.js";
import { whole } from "./words.js";

/** Below this p-value a difference is taken for real. */
const SIGNIFICANT = 0.05;
/** Smaller p-values tell nobody more. */
const LEAST = 0.0001;

/** @param {{ score: string, baseline: string, found: object | null } | null} comparison both scores in words, and what came of it */
export function showComparison(comparison) {
  const { differences, delong, error } = comparison?.found ?? {};
  byId("comparison").replaceChildren(differences ? tableOf(comparison, differences, delong) : "");
  write(byId("comparison-words"), !comparison ? ""
    : error ? `${comparison.score} and ${comparison.baseline} cannot be compared. ${error}`
    : differences ? inWords(comparison, differences.auroc.value, delong)
    : `The comparison of ${comparison.score} with ${comparison.baseline} appears here once it is computed.`);
}

function tableOf({ score, baseline }, differences, { p }) {
  const cells = METRICS.map(([key]) => {
    const found = differences[key];
    return found === null ? "not defined" : el("span", { "data-metric": key, "data-value": found.value }, points(found.value),
      el("small", { class: "interval" }, ` ${points(found.low)} to ${points(found.high)}`));
  });
  return table(`Difference in percentage points, with 95% intervals of ${whole(differences.resamples)} paired bootstrap resamples; p by DeLong's test of the AUROC`,
    ["Score", ...METRICS.map(([, label]) => label), "p"],
    [[`${score} minus ${baseline}`, ...cells, el("span", { id: "comparison-p", "data-value": p ?? "" }, p === null ? "not defined" : inDigits(p))]]);
}

function inWords({ score, baseline }, difference, { p }) {
  if (p === null) {
    return `DeLong's test has no answer: ${difference === 0
      ? "by both scores, every image lies above as many of the other side" : "there are too few images, or all of them differ alike"}.`;
  }
  const apart = Math.abs(100 * difference).toFixed(2);
  if (apart === "0.00") return `By AUROC, ${score} and ${baseline} are equally good on these images, within 0.01 points (p ${inDigits(p)}).`;
  return `By AUROC, ${score} is ${difference > 0 ? "better" : "worse"} than ${baseline} on these images by ${apart} points. Were both equally good, ` + (p < SIGNIFICANT
    ? `chance would hardly make them differ so much (p ${inDigits(p)}).`
    : `chance might well make them differ so much (p ${inDigits(p)}): these images do not tell which is better.`);
}

const points = (fraction) => `${fraction > 0 ? "+" : ""}${(100 * fraction).toFixed(2)}`;

const inDigits = (p) => (p < LEAST ? `below ${LEAST}` : p.toFixed(4));
