// The walk through what the command line measured for the networks in use: there before anything is dropped.
import { measuredStudy } from "../engine/measured.js";
import { setNotes } from "./notes.js";
import { ODIN, settings } from "./settings.js";
import { Summary } from "./summary.js";
import { plural } from "./words.js";

/** Sets of photographs of the same kind as the known ones, of other classes; all others are far. */
const NEAR = /^(cifar10|cifar100|Imagenet.*)$/;

export class WalkThrough {
  kind = "measured";
  #scorer;
  #on;
  /** As stored with the networks in use; null where nothing is, undefined while that is not known. */
  #results;
  #summary = new Summary((name) => (NEAR.test(name) ? "near" : "far"));

  /** @param {import("./studyview.js").Events} on */
  constructor(scorer, on) { [this.#scorer, this.#on] = [scorer, on]; }

  /** Takes other results; null and undefined as above. */
  take(results) {
    this.#results = results;
    this.#on.listed();
    this.update();
  }

  get available() { return this.sets.length > 0; }
  get empty() {
    return this.#results === undefined ? "The measured results are being loaded." : "No measured results are stored with these networks.";
  }
  get sets() {
    return this.#results?.ood.map(({ name, epsilon }) => (epsilon === undefined ? name : `${name}, epsilon ${epsilon}`)) ?? [];
  }
  get set() { return Math.max(0, this.sets.indexOf(settings.get("set"))); }
  set set(index) { settings.set({ set: index === 0 ? null : this.sets[index] }); }
  get scores() {
    const measured = new Set(this.#results?.ood[this.set]?.scores.map(({ score }) => score));
    return this.#scorer.scoreNames.filter(({ id }) => measured.has(id));
  }
  get score() { return settings.chosen("score", this.scores); }
  /** Images cannot be paired: their scores are not stored. */
  get baselines() { return []; }
  get exports() { return { json: false, csv: false }; }

  update() {
    if (!this.available) return this.#on.show(this, null);
    const { manifest } = this.#scorer.ensemble;
    const measured = measuredStudy(this.#results, this.set, this.score, this.#scorer.scoreNames);
    const { names, counts, rows, curves, shown } = measured;
    const same = ODIN.every((name) => manifest.odin[name] === this.#results.odin[name]);
    this.#on.show(this, {
      ...measured, kind: this.kind,
      sentence: `Measured by the command line: ${names.id} (${plural(counts.id, "image")}) against ${names.ood} (${plural(counts.ood, "image")}).` +
        (curves ? "" : " These results were stored without curves."),
      notes: setNotes(manifest.dataset, names.ood, rows),
      calibrated: shown === "eloc" && same ? manifest.threshold ?? null : null,
      thinned: true, final: true, comparison: null,
    });
    if (!this.#on.wants(this)) return;
    this.#summary.show(measured.label, this.#results.ood.map(({ name, images, scores }) =>
      ({ name, images, metrics: scores.find(({ score }) => score === shown) })));
  }
}
