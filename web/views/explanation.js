// What the folds say about one image, as tables and maps in the panel of its details.
//
// `answers` are those of Scorer.explain, in the manifest's order: fewer than the manifest's folds while some are on their way.
import { byId, el, paint, table } from "./dom.js";
import { leastScore } from "./verdict.js";
import { listed, percent } from "./words.js";

/** Classes shown with a bar; of a hundred classes the rest are all but zero. */
const BARS = 10;
/** Classes named that a fold never saw, where there are many. */
const NAMES = 3;
/** Above this temperature scores hardly differ, and are shown a thousand times as large. */
const HOT = 20;

/** Each fold's score, and what it takes the image for; and the folds as a choice for the maps. */
export function showFolds({ folds, classes }, answers, foldScores, { temperature }) {
  const above = foldScores.map(([score], i) => score - leastScore([folds[i]]));
  const most = Math.max(...above, 1e-12);
  const hot = temperature > HOT;
  const rows = above.map((value, i) => {
    const { kept, left_out: leftOut, number } = folds[i];
    const { logits } = answers[i];
    const guess = classes[kept[logits.indexOf(Math.max(...logits))]];
    return [String(number), abridged(leftOut.map((c) => classes[c])), guess, bar(value / most, ((hot ? 1000 : 1) * value).toFixed(4))];
  });
  byId("details-folds").replaceChildren(table(
    `Score of each fold above its least possible value${hot ? ", times 1000" : ""}`,
    ["Fold", "Never saw", "Takes it for", "Score"], rows));
  const choice = byId("details-fold"), before = choice.value;
  choice.replaceChildren(el("option", { value: "all" }, "All folds"),
    ...rows.map(([number]) => el("option", { value: number }, `Fold ${number}`)));
  choice.value = [...choice.options].some(({ value }) => value === before) ? before : "all";
}

function abridged(names) {
  return listed(names.length > NAMES + 1 ? [...names.slice(0, NAMES), `${names.length - NAMES} more`] : names);
}

/** The most probable classes, before and after the perturbation. */
export function showClasses(manifest, { before, after }) {
  const order = [...before.keys()].sort((a, b) => before[b] - before[a]).slice(0, BARS);
  const rows = order.map((c) => [manifest.classes[c], bar(before[c], percent(before[c])), bar(after[c], percent(after[c]))]);
  byId("details-classes").replaceChildren(
    table("Class probabilities, in percent: of each class by the networks that know it", ["Class", "Image as it is", "After the perturbation"], rows));
}

/** The image's scores of every kind. */
export function showScores(scoreNames, scores) {
  const rows = scoreNames.map(({ id, label }) => [label, el("span", { "data-score": id }, scores[id][0].toPrecision(8))]);
  byId("details-scores").replaceChildren(table("All scores of this image; higher is more like the training images", ["Score", "Value"], rows));
}

/** The perturbation by `epsilon` and the size of the gradient: the mean of `answers`. */
export function showMaps(answers, epsilon) {
  const step = new Float32Array(3072), size = new Float32Array(1024);
  for (const answer of answers) {
    const largest = answer.gradient.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-30);
    for (let i = 0; i < 3072; i++) {
      step[i] += answer.step[i] / answers.length;
      // Folds count alike, however steep they are.
      size[i % 1024] += Math.abs(answer.gradient[i]) / largest / answers.length;
    }
  }
  paint(byId("details-step"), step.map((value) => 127.5 + (127.5 * value) / (epsilon || 1)));
  paint(byId("details-gradient"), glow(size));
}

/** Values from 0 up, [32][32], as an image: the larger, the brighter. */
function glow(values) {
  const most = values.reduce((a, b) => Math.max(a, b), 1e-30);
  const light = values.map((value) => 255 * Math.sqrt(value / most));
  const image = new Float32Array(3072);
  for (let i = 0; i < 1024; i++) {
    image[i] = Math.min(255, 1.6 * light[i]);
    image[1024 + i] = 0.9 * light[i];
    image[2048 + i] = 40 + 0.35 * light[i];
  }
  return image;
}

/** A number with a bar of `fraction` behind it. */
function bar(fraction, text) {
  const fill = el("span", { class: "bar-fill", "aria-hidden": "true" });
  fill.style.width = `${Math.max(0, Math.min(1, fraction)) * 100}%`;
  return el("span", { class: "bar" }, fill, el("span", { class: "bar-text" }, text));
}
