// One score on every out-of-distribution set, and the means of those that are called near and far, as OpenOOD reports them.
import { METRICS, meanOf } from "../engine/study.js";
import { byId, el, table } from "./dom.js";
import { percent, whole } from "./words.js";

const GROUPS = ["near", "far"];

/** The table; each study of several sets has its own. */
export class Summary {
  #table = null;
  /** What the table is of, but for its numbers. */
  #of = "";
  #sets = [];
  /** The visitor's choice by the set's name: one of the groups, or "". */
  #groups = new Map();
  #usual;

  /** @param {(name: string) => string} usual the group of a set that the visitor put in none */
  constructor(usual = () => "") { this.#usual = usual; }

  /** @param {{ name: string, images: number, metrics: object }[]} sets none where there is nothing to show */
  show(label, sets) {
    this.#sets = sets;
    const of = JSON.stringify([label, sets.map(({ name }) => name)]);
    // A list that is open must not be closed by new numbers.
    if (this.#of !== of || !this.#table?.isConnected) {
      this.#of = of;
      this.#table = this.#made(label);
      byId("eval-summary").replaceChildren(sets.length > 0 ? this.#table : "");
    }
    const [{ rows }] = this.#table.tBodies;
    sets.forEach(({ images, metrics }, i) => {
      const texts = [whole(images), ...METRICS.map(([key]) => percent(metrics[key]))];
      texts.forEach((text, j) => { rows[i].cells[j + 2].textContent = text; });
    });
    this.#means();
  }

  #made(label) {
    const rows = this.#sets.map(({ name }) => [name, this.#choice(name), "", ...METRICS.map(() => "")]);
    const made = table(`${label} on every set, in percent; with the means of the sets that you call near and far`,
      ["Out-of-distribution set", "Group", "Images", ...METRICS.map(([, metric]) => metric)], rows);
    made.append(el("tbody"));
    return made;
  }

  #choice(name) {
    const select = el("select", { "aria-label": `Group of ${name}` }, el("option", { value: "" }, "none"),
      ...GROUPS.map((group) => el("option", {}, group)));
    select.value = this.#groupOf(name);
    select.addEventListener("input", () => {
      this.#groups.set(name, select.value);
      this.#means();
    });
    return select;
  }

  #groupOf(name) { return this.#groups.get(name) ?? this.#usual(name); }

  #means() {
    const rows = GROUPS.map((group) => [group, this.#sets.filter(({ name }) => this.#groupOf(name) === group)])
      .filter(([, sets]) => sets.length > 0)
      .map(([group, sets]) => {
        const mean = meanOf(sets.map(({ metrics }) => metrics));
        return el("tr", { "data-group": group }, el("th", { scope: "row", colspan: 3 }, `Mean of ${sets.length} ${group}-OOD ${sets.length === 1 ? "set" : "sets"}`),
          ...METRICS.map(([key]) => el("td", { "data-metric": key, "data-value": mean[key] ?? "" }, percent(mean[key]))));
      });
    this.#table.tBodies[1].replaceChildren(...rows);
  }
}
