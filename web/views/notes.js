// What has to be known beside a table of metrics: classes that both sides share, and scores that are worse than chance.
import { listed, percent } from "./words.js";

/** Tiny-ImageNet, by the names that `eloc evaluate` gives its sets. */
const TINY_IMAGENET = /^Imagenet(_resize|_smooth)?$/;
/** Classes of Tiny-ImageNet that are, or belong to, classes of a data set. */
const SHARED = {
  cifar10: "cats, dogs, frogs, cars and birds",
  cifar100: "bees, lions, buses, mushrooms and oranges",
};

/** Notes on the set `name`, for networks that know `dataset`, and on the scores in `rows`. @returns {string[]} */
export function setNotes(dataset, name, rows) {
  const notes = [];
  if (TINY_IMAGENET.test(name) && SHARED[dataset]) {
    notes.push(`This set is Tiny-ImageNet, which has classes that the networks learned: ${SHARED[dataset]}, for example. Who takes such a ` +
      "picture for known is right, and the table counts it as a mistake. The published figures have the same flaw.");
  }
  const below = belowChance(rows);
  if (below.length > 0) notes.push(`Below chance: ${belowWords(below)}. These scores take the unknown images for the better known ones.`);
  return notes;
}

/** Rows with an AUROC below a half. */
export const belowChance = (rows) => rows.filter(({ metrics }) => metrics.auroc < 0.5);

/** Their AUROC in words. */
export const belowWords = (rows) => `an AUROC below 50 (${listed(rows.map(({ label, metrics }) => `${label} ${percent(metrics.auroc)}`))})`;
