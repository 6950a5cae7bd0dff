// Results to compare with: the published tables, and what `eloc evaluate` measured for these weights.
import { request } from "../engine/download.js";
import { METRICS } from "../engine/study.js";
import { byId, el, table } from "./dom.js";
import { duration, percent } from "./words.js";

/** The sets that were published, by the names that `eloc evaluate` and this page give the same. */
const SAME = {
  Imagenet: "Tiny-ImageNet (crop)", Imagenet_resize: "Tiny-ImageNet (resize)", LSUN: "LSUN (crop)", LSUN_resize: "LSUN (resize)",
  uniform: "uniform", gaussian: "Gaussian",
};

let published = null;
/** Where published figures stand beside a study's, and of which set. */
let beside = null;
/** The data set that the networks in use know. */
let known = "";

/** Fetches the published tables and shows them; the choice of network is the visitor's. */
export async function showPublished() {
  published = await (await request("published.json")).json();
  const choice = byId("published-choice");
  choice.replaceChildren(...published.networks.map(({ id, network }) => el("option", {}, `${id}, ${network}`)));
  choice.addEventListener("input", draw);
  choosePublished(known);
  drawBeside();
}

/** Shows in `place` what was published about the set `name` for networks that know `dataset`, where there is something. */
export function publishedBeside(place, dataset, name) {
  beside = { place, dataset, set: SAME[name.split(":")[0]] };
  drawBeside();
}

function drawBeside() {
  if (!beside) return;
  const { place, dataset, set } = beside;
  const rows = (published?.networks ?? []).filter(({ id }) => isOf(id, dataset)).flatMap(({ network, sets }) =>
    sets.filter(({ name }) => name === set).flatMap(({ results }) => Object.entries(results).map(([method, values]) =>
      [`${published.methods[method]}, ${network}`, ...values.map((value) => value.toFixed(2))])));
  place.replaceChildren(rows.length > 0
    ? table(`Published for ${set}, by others with their own networks and files, in percent`, ["Method", ...METRICS.map(([, label]) => label)], rows)
    : "");
}

/** Whether published tables of `id`, "CIFAR-10", are of `dataset`, "cifar10". */
const isOf = (id, dataset) => id.toLowerCase().replace("-", "") === dataset;

/** Shows what was published about `dataset`, where that is in the tables. */
export function choosePublished(dataset) {
  known = dataset;
  if (!published) return;
  const found = published.networks.findIndex(({ id }) => isOf(id, dataset));
  byId("published-choice").selectedIndex = Math.max(0, found);
  draw();
}

function draw() {
  const { sets } = published.networks[byId("published-choice").selectedIndex];
  const rows = sets.flatMap(({ name, results }) => Object.entries(results).map(([method, values], i) =>
    [i === 0 ? name : el("span", { class: "repeat" }, name), published.methods[method], ...values.map((value) => value.toFixed(2))]));
  byId("published").replaceChildren(table("Published results in percent", ["Out-of-distribution set", "Method", ...METRICS.map(([, label]) => label)], rows));
  byId("published-source").textContent = published.source;
}

/** Shows the measured results of the weights in use; null where there are none. */
export function showMeasured(name, results, scoreNames) {
  const place = byId("measured");
  if (!results) return place.replaceChildren(el("p", {}, `No measured results are stored with ${name}.`));
  const labels = new Map(scoreNames.map(({ id, label }) => [id, label]));
  const eloc = results.ood.map(({ name: set, images, scores }) => {
    const best = scores.find(({ score }) => score === "eloc");
    return [set, String(images), ...METRICS.map(([key]) => percent(best[key]))];
  });
  const all = results.ood.map(({ name: set, scores }) => [set, ...scores.map((row) => `${percent(row.auroc)} / ${percent(row.fpr_at_95_tpr)}`)]);
  const { temperature, epsilon } = results.odin;
  const { device, commit, seconds } = results.provenance;
  place.replaceChildren(
    table(`ELOC, ${name}, in percent`, ["Out-of-distribution set", "Images", ...METRICS.map(([, label]) => label)], eloc),
    table("AUROC / FPR at 95% TPR of all scores, in percent",
      ["Out-of-distribution set", ...results.ood[0].scores.map(({ score }) => labels.get(score) ?? score)], all),
    el("p", { class: "note" }, `Measured against ${results.id.images} images of ${results.id.name}` +
      (results.id.accuracy === null ? "" : ` (ensemble accuracy ${percent(results.id.accuracy)} %)`) +
      `, temperature ${temperature}, epsilon ${epsilon}, ${results.definition} definitions, on ${device}, ` +
      `in ${duration(seconds)}${commit ? `, commit ${commit}` : ""}.`));
}
