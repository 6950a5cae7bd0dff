// The two sides of the evaluator: which image sets are on them, how images come there, and the lists of what is there.
import { byClass, imagesOf, isArchive, isImage, sampled } from "../engine/files.js";
import { IMAGE_BYTES, ImageSet } from "../engine/imageset.js";
import { byId, el, misfit, write } from "./dom.js";
import { notice } from "./messages.js";
import { plural, whole } from "./words.js";

/** The seeds of the command line's generated sets. */
const OOD_SEED = 0, SHAPES_TEST_SEED = 2, SHAPES_PER_CLASS = 200;

/** One set of known images, or null, and any number of others, of which one is shown. */
export class Sides {
  idSet = null;
  /** @type {ImageSet[]} */
  oodSets = [];
  #scorer;
  #analyst;
  #importer;
  #room;
  #on;
  /** The visitor's choice of oodSet, or the set that came last. */
  #chosen = null;
  /** Rows of the lists of sets. @type {Map<ImageSet, HTMLElement>} */
  #rows = new Map();

  /**
   * @param {{ scorer, analyst, importer, room: () => number }} parts
   * @param {{ listed: () => void, changed: () => void, otherShown: () => void, removed: (set: ImageSet) => void }} on
   *   listed: sets or their numbers of images; changed: also what can be said about them
   */
  constructor({ scorer, analyst, importer, room }, on) {
    [this.#scorer, this.#analyst, this.#importer, this.#room, this.#on] = [scorer, analyst, importer, room, on];
  }

  get sets() { return [this.idSet, ...this.oodSets].filter(Boolean); }

  /** The out-of-distribution set that is shown. */
  get oodSet() { return this.oodSets.includes(this.#chosen) ? this.#chosen : this.oodSets.at(-1); }

  /** Takes dropped or picked items: those of the in side make one set, on the out side every folder and archive is one. */
  take(side, items) {
    const wrong = misfit(byId("eval-limit"));
    if (wrong) return notice(wrong, "error");
    const limit = Number(byId("eval-limit").value) || Infinity;
    const single = items.filter(isImage), groups = items.filter((item) => !isImage(item));
    if (single.length) groups.push({ name: single.length === 1 ? single[0].name : "images", files: single.flatMap(({ files }) => files) });
    if (side === "id") return this.#takeKnown(groups, limit);
    for (const { name, files } of groups) {
      this.#read(name, this.#newOodSet(name), files.length > limit ? sampled(imagesOf(files), limit) : files, limit);
    }
  }

  /** Makes images on one side: as many as asked for, or of known shapes as many as the command line takes. */
  async generate(kind, side) {
    const wrong = misfit(byId("generate-count"));
    if (wrong) return notice(wrong, "error");
    const asked = Number(byId("generate-count").value);
    const known = side === "id";
    try {
      // Shapes are counted by class, of which there are as many as the set has.
      const wanted = kind !== "shapes" ? asked : known ? SHAPES_PER_CLASS : Math.max(1, Math.round(asked / 10));
      if ((kind === "shapes" ? 10 * wanted : wanted) > this.#room()) throw new Error("The page is full; clear some images first.");
      const { images, classes } = await this.#analyst.ask("generate", { kind, count: wanted, seed: kind === "shapes" ? SHAPES_TEST_SEED : OOD_SEED });
      const count = images.length / IMAGE_BYTES;
      const set = known ? this.#knownSet("shapes") : this.#newOodSet(`${kind}:${count}`);
      set.addMade(kind, classes ?? [], images);
      if (!known) this.choose(set);
      this.#scorer.resume();
    } catch (error) {
      notice(`These images could not be made. ${error.message}`, "error");
    }
    this.#list();
    this.#on.changed();
  }

  clear() {
    for (const set of this.sets) this.#remove(set);
  }

  #takeKnown(groups, limit) {
    const name = groups.length === 1 ? groups[0].name : "images", set = this.#knownSet(name), left = limit - set.count;
    if (left <= 0) return notice(`"${set.name}" has ${plural(set.count, "image")} already, of at most ${whole(limit)}.`, "error");
    this.#read(name, set, sampled(groups.flatMap(({ files }) => byClass(imagesOf(files))), left), limit);
  }

  #knownSet(name) {
    if (!this.idSet) {
      this.idSet = new ImageSet(name);
      this.#scorer.addSet(this.idSet);
    }
    return this.idSet;
  }

  #newOodSet(name) {
    const taken = new Set(this.oodSets.map((set) => set.name));
    let free = name;
    for (let n = 2; taken.has(free); n++) free = `${name} (${n})`;
    const set = new ImageSet(free);
    this.oodSets.push(set);
    this.#scorer.addSet(set);
    return set;
  }

  #read(name, set, files, limit) {
    let first = true;
    this.#importer.read(name, set, files, { limit,
      added: () => {
        // Only what can be read is shown.
        if (first && set !== this.idSet) this.choose(set);
        first = false;
        this.#scorer.resume();
        this.#list();
      },
      ended: () => {
        const more = this.#importer.reads(set) || this.#importer.unread(set);
        if (set.count === 0 && !more && this.sets.includes(set)) this.#remove(set);
        if (set.count === limit && files.some(isArchive)) {
          notice(`The first ${plural(limit, "image")} of "${name}" were taken, as asked. An archive may hold them class by class: then raise the number, or unpack it and drop the folder.`, "info");
        }
        this.#list();
        this.#on.changed();
      },
    });
    this.#list();
  }

  /** Shows this out-of-distribution set. */
  choose(set) {
    this.#chosen = set;
    this.#on.otherShown();
  }

  #remove(set) {
    this.#importer.cancel(set);
    this.#scorer.removeSet(set);
    this.#on.removed(set);
    if (set === this.idSet) this.idSet = null;
    if (set === this.oodSet) this.#on.otherShown();
    this.oodSets = this.oodSets.filter((other) => other !== set);
    this.#list();
    this.#on.changed();
  }

  /** The sets of both sides, each with what is done of it. */
  #list() {
    this.#dropRows();
    for (const set of this.sets) {
      const row = this.#rows.get(set) ?? this.#newRow(set);
      row.dataset.count = set.count;
      write(row.firstChild, `${set.name}: ${plural(set.count, "image")}` + (this.#importer.unread(set) ? "; the rest is not read yet" : ""));
    }
    this.#on.listed();
  }

  #newRow(set) {
    const row = el("li", { "data-set": set.name }, el("span"),
      el("button", { type: "button", class: "quiet", onclick: () => this.#remove(set) }, "Remove", el("span", { class: "visually-hidden" }, ` ${set.name}`)));
    this.#rows.set(set, row);
    byId(set === this.idSet ? "id-sets" : "ood-sets").append(row);
    return row;
  }

  /** Takes the sets that are gone from the lists; the focus goes to the neighbour. */
  #dropRows() {
    for (const [set, row] of this.#rows) {
      if (this.sets.includes(set)) continue;
      const focused = row.contains(document.activeElement);
      const next = row.nextElementSibling ?? row.previousElementSibling ?? row.closest(".side");
      row.remove();
      this.#rows.delete(set);
      if (focused) next.querySelector("button").focus();
    }
  }
}
