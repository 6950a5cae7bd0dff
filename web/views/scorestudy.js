// The study of score files that the visitor put on two sides: which they are, what is taken of them, and what comes of it.
import { ScoreFiles, lookInto } from "../engine/scorefiles.js";
import { RESAMPLES, SEED } from "../engine/intervals.js";
import { acceptedShare, measure, tableOf } from "../engine/study.js";
import { byId, el } from "./dom.js";
import { download } from "./export.js";
import { problem } from "./messages.js";
import { belowChance, belowWords } from "./notes.js";
import { settings } from "./settings.js";
import { json, plural, whole } from "./words.js";

export class ScoreStudy {
  kind = "scores";
  #statistician;
  #intervals;
  #comparison;
  #on;
  #files = new ScoreFiles();
  /** The scores of the files as they are now, by their key. */
  #read = { key: "", scores: [] };
  /** The metrics of these scores, by the files' key and the definition. */
  #metrics = { family: "", known: null };
  #shown = null;
  #turn = Promise.resolve();

  /** @param {{ statistician, intervals, comparison }} parts @param {import("./studyview.js").Events} on */
  constructor({ statistician, intervals, comparison }, on) {
    [this.#statistician, this.#intervals, this.#comparison, this.#on] = [statistician, intervals, comparison, on];
    byId("score-known").addEventListener("input", () => this.#switch(byId("score-known").value));
    byId("score-column").addEventListener("input", () => {
      this.#files.column = byId("score-column").value;
      this.#changed();
    });
    byId("switch-known").addEventListener("click", () => {
      this.#switch(this.#files.known === "higher" ? "lower" : "higher");
      byId("score-known").focus();
    });
  }

  get available() { return this.#files.count > 0; }
  get empty() {
    if (this.#files.complete) return "These scores are being measured.";
    const lacking = this.#files.id.length === 0 ? "in-distribution" : "out-of-distribution";
    return `The metrics appear here once the ${lacking} side has its file of scores, too.`;
  }
  get sets() { return this.#files.complete ? [this.#files.names.ood] : []; }
  get set() { return 0; }
  set set(_) {}
  get scores() { return this.#read.scores; }
  get score() { return settings.chosen("score", this.scores); }
  /** The other scores of the same logits, or the other columns of the same files. */
  get baselines() {
    if (this.scores.length > 1) return this.scores.filter(({ id }) => id !== this.score);
    const { column, columns } = this.#files;
    return column ? columns.filter((name) => name && name !== column).map((name) => ({ id: name, label: name })) : [];
  }
  get exports() { return { json: Boolean(this.#shown?.final), csv: false }; }

  /** Takes files on the side "id" or "ood"; those that hold no scores are listed with their reason. @returns {Promise<boolean>} */
  async take(side, files) {
    const taken = [];
    for (const file of files) {
      try {
        taken.push(await lookInto(this.#statistician, file));
      } catch (error) {
        problem(file.name, error.message);
      }
    }
    if (taken.length === 0) return false;
    this.#files.add(side, taken);
    this.#changed();
    return true;
  }

  clear() {
    this.#files = new ScoreFiles();
    this.#changed();
  }

  /** The command line that measures the same, and what it prints. */
  exportJson() {
    const definition = this.#shown.definition;
    download("eloc-scores.json", "application/json", json({
      command: this.#files.command(definition, { resamples: RESAMPLES.final, seed: SEED }),
      sets: [{ name: this.#files.setName, ...tableOf(this.#shown) }],
    }));
  }

  /** One at a time, the last one wins. */
  update() {
    this.#turn = this.#turn.then(() => this.#study()).catch((error) => this.#on.failed(this, error));
    return this.#turn;
  }

  #switch(known) {
    this.#files.known = known;
    this.#changed();
  }

  #changed() {
    this.#shown = null;
    this.#list();
    this.#on.otherScores();
    this.#on.listed();
    this.update();
  }

  async #study() {
    const files = this.#files, { key } = files, definition = settings.get("definition");
    byId("below-chance").hidden = true;
    if (!files.complete || !this.#on.wants(this)) return this.#on.show(this, null);
    if (this.#read.key !== key) {
      this.#read = { key: "", scores: [] };
      const scores = await files.read(this.#statistician);
      if (key !== this.#files.key) return;
      this.#read = { key, scores };
      this.#on.listed();
    }
    const { scores } = this.#read, { score } = this;
    const family = `${key}|${definition}`;
    const study = await measure(this.#statistician, scores, score, definition, this.#metrics.family === family ? this.#metrics.known : null);
    this.#metrics = { family, known: study.rows.map(({ metrics }) => metrics) };
    const current = () => key === this.#files.key && definition === settings.get("definition") && score === this.score && this.#on.wants(this);
    if (!current()) return;
    const baseline = settings.chosen("baseline", [{ id: "" }, ...this.baselines]), comparedKey = `${family}|${score}|${baseline}`;
    const { names } = files, [{ pair }] = scores, counts = { id: pair.id.length, ood: pair.ood.length };
    const show = () => {
      const intervals = this.#intervals.known(family, family, false), found = this.#comparison.known(comparedKey);
      this.#shown = {
        kind: this.kind, names, counts, shown: score, definition, curves: study.curves,
        rows: study.rows.map((row) => ({ ...row, intervals: intervals[row.id] })),
        label: files.known === "lower" ? `${score}, negated` : score,
        sentence: `${names.id} (${plural(counts.id, "image")}) against ${names.ood} (${plural(counts.ood, "image")}).`,
        notes: [], calibrated: null, thinned: false, final: scores.every(({ id }) => id in intervals) && (!baseline || Boolean(found)),
        comparison: baseline ? { score: scores.length > 1 ? score : files.column, baseline, found } : null,
        at: (threshold) => ({ tpr: acceptedShare(study.id, threshold), fpr: acceptedShare(study.ood, threshold) }),
      };
      this.#on.show(this, this.#shown);
      this.#on.listed();
    };
    show();
    this.#offerSwitch(study.rows);
    if (baseline) {
      const { pair } = scores.find(({ id }) => id === score), other = scores.find(({ id }) => id === baseline);
      const read = async () => other?.pair ?? (await files.read(this.#statistician, baseline))[0].pair;
      this.#comparison.fill({ key: comparedKey, definition, pair }, read, () => this.update());
    }
    this.#intervals.fill({ key: family, family, scores, definition, final: true }, current, show)
      .catch((error) => this.#on.failed(this, error));
  }

  #offerSwitch(rows) {
    const below = belowChance(rows);
    byId("below-chance").hidden = below.length === 0;
    if (below.length === 0) return;
    const { ofLogits, known } = this.#files;
    const other = known === "higher" ? "lower" : "higher";
    byId("below-words").textContent = `Below chance: ${belowWords(below)}. ` + (ofLogits
      ? "Higher logits should mean known; perhaps the sides are exchanged."
      : `Either the sides are exchanged, or ${other} scores are the ones that mean known.`);
    byId("switch-known").hidden = ofLogits;
    byId("switch-known").textContent = `Take ${other} scores as known`;
  }

  /** The files of both sides, and the choices that there are about them. */
  #list() {
    for (const side of ["id", "ood"]) {
      byId(`${side}-scores`).replaceChildren(...this.#files[side].map((file) => el("li", { "data-kind": file.kind },
        el("span", {}, `${file.name}: ${contents(file)}`),
        el("button", { type: "button", class: "quiet", onclick: () => this.#remove(side, file) }, "Remove",
          el("span", { class: "visually-hidden" }, ` ${file.name}`)))));
    }
    const { columns, column, known, ofLogits } = this.#files;
    byId("score-column").replaceChildren(...columns.map((name) => el("option", { value: name }, name || "as saved: conf, by label")));
    byId("score-column").value = column;
    byId("score-column-label").hidden = columns.length < 2;
    byId("score-known").value = known;
    byId("score-known-label").hidden = ofLogits;
  }

  #remove(side, file) {
    this.#files.remove(side, file);
    byId(`${side}-drop`).querySelector("[data-pick]").focus();
    this.#changed();
  }
}

/** What a file holds, in words. */
function contents({ kind, id, ood, classes, columns }) {
  if (kind === "scores") return plural(id, "score");
  if (kind === "logits") return `logits of ${whole(classes)} classes for ${plural(id, "image")}`;
  if (kind === "openood") return `OpenOOD's scores, ${whole(id)} in and ${whole(ood)} out by their labels`;
  return `columns ${columns.slice(0, 6).join(", ")}${columns.length > 6 ? ", …" : ""}`;
}
