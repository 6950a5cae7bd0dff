// The walk through what the command line measured for the networks in use: there before anything is dropped.
import { measuredStudy } from "../engine/measured.js";
import { METRICS } from "../engine/study.js";
import { byId, table } from "./dom.js";
import { setNotes } from "./notes.js";
import { calibrated } from "./verdict.js";
import { percent, plural } from "./words.js";

export class WalkThrough {
  kind = "measured";
  #scorer;
  #on;
  /** As stored with the networks in use; null where nothing is, undefined while that is not known. */
  #results;
  #set = 0;
  #score = "eloc";

  /** @param {import("./studyview.js").Events} on */
  constructor(scorer, on) { [this.#scorer, this.#on] = [scorer, on]; }

  /** Takes other results; null and undefined as above. */
  take(results) {
    this.#results = results;
    if (this.#set >= this.sets.length) this.#set = 0;
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
  get set() { return this.#set; }
  set set(index) { this.#set = index; }
  get scores() {
    const measured = new Set(this.#results?.ood[this.#set]?.scores.map(({ score }) => score));
    return this.#scorer.scoreNames.filter(({ id }) => measured.has(id));
  }
  get score() { return this.scores.some(({ id }) => id === this.#score) ? this.#score : this.scores[0]?.id; }
  set score(id) { this.#score = id; }
  get exports() { return { json: false, csv: false }; }

  update() {
    if (!this.available) return this.#on.show(this, null);
    const { manifest } = this.#scorer.ensemble;
    const measured = measuredStudy(this.#results, this.#set, this.score, this.#scorer.scoreNames);
    const { names, counts, rows, curves, shown } = measured;
    const same = ["temperature", "epsilon", "gradient"].every((name) => manifest.odin[name] === this.#results.odin[name]);
    this.#on.show(this, {
      ...measured, kind: this.kind,
      sentence: `Measured by the command line: ${names.id} (${plural(counts.id, "image")}) against ${names.ood} (${plural(counts.ood, "image")}).` +
        (curves ? "" : " These results were stored without curves."),
      notes: setNotes(manifest.dataset, names.ood, rows),
      calibrated: shown === "eloc" && same ? manifest.threshold ?? null : null,
      thinned: true, final: true,
    });
    const cells = this.#results.ood.map(({ name, images, scores }) => {
      const { score: _, ...metrics } = scores.find(({ score }) => score === shown);
      return [name, String(images), ...METRICS.map(([key]) => percent(metrics[key]))];
    });
    if (this.#on.wants(this)) {
      byId("eval-summary").replaceChildren(
        table(`${measured.label} on every set, in percent`, ["Out-of-distribution set", "Images", ...METRICS.map(([, label]) => label)], cells));
    }
  }
}
