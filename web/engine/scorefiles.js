// Files of scores or logits that any classifier wrote, on two sides. The module reads them anew for every question, so that a worker
// that was lost takes nothing with it.

/** What is named as a file of scores; pickles are, too, so that they can be refused by name. */
const NAMED = /\.(txt|csv|npy|npz|pkl|pickle|pt|pth)$/i;
/** What is hardly anything else. */
const ARRAYS = /\.(csv|npy|npz|pkl|pickle)$/i;
/** Names of columns that are likely to hold the scores. */
const LIKELY = /scor|conf|msp|softmax|energy|logit|dist/i;
/** The largest file, in bytes: it is in memory as a whole, and several times while it is read. */
const MOST = 256 * 2 ** 20;

/** Whether a dropped item is a file of scores by its name, and no note among images. @param {import("./files.js").Item} item */
export const isArray = ({ name, files }) => files.length === 1 && ARRAYS.test(name);

/** The files of scores in dropped items, and the items that are something else; a folder may hold nothing but such files. */
export function parted(items) {
  const scores = [], others = [];
  for (const item of items) {
    const folder = item.files.length > 1 && item.files.every(({ path }) => NAMED.test(path)) && item.files.some(({ path }) => ARRAYS.test(path));
    if (item.files.length === 1 && NAMED.test(item.name) || folder) scores.push(...item.files.map(({ file, path }) => ({ file, name: path.split("/").at(-1) })));
    else others.push(item);
  }
  return { scores, others };
}

/**
 * A file of scores, and what the module says that it holds.
 * @typedef {{ file: File, name: string, kind: "scores" | "logits" | "openood" | "columns", id: number, ood: number, classes: number,
 *   columns: string[] }} ScoreFile
 */

/** Looks into a file. @returns {Promise<ScoreFile>} */
export async function lookInto(analyst, { file, name }) {
  if (file.size > MOST) throw new Error(`${name}: expected at most ${MOST / 2 ** 20} MiB, found ${Math.ceil(file.size / 2 ** 20)}`);
  return { file, name, ...await analyst.ask("scoreFile", { file, name }) };
}

/** The files of two sides, which scores of them are taken, and which of these mean known. */
export class ScoreFiles {
  /** @type {ScoreFile[]} */
  id = [];
  /** @type {ScoreFile[]} */
  ood = [];
  /** @type {"higher" | "lower"} */
  known = "higher";
  /** The visitor's choice of column or array; null before there is one. */
  #column = null;

  get count() { return this.id.length + this.ood.length; }

  /** Adds files on a side. Logits join other logits as one ensemble, anything else takes the place of what was there. */
  add(side, files) {
    const join = [...this[side], ...files].every(({ kind }) => kind === "logits");
    this[side] = join ? [...this[side], ...files] : files;
    // One of OpenOOD's holds both sides, wherever it was dropped.
    if (this.id.length === 0 && this.ood.length === 1 && this.ood[0].kind === "openood" && this.ood[0].id > 0) {
      [this.id, this.ood] = [this.ood, []];
    }
  }

  remove(side, file) { this[side] = this[side].filter((other) => other !== file); }

  /** Columns or arrays that can be taken: those that every file with names has; "" is what a file needs no name for. */
  get columns() {
    const named = [...this.id, ...this.ood].filter(({ columns }) => columns.length > 0);
    const shared = named.length === 0 ? [] : named[0].columns.filter((name) => named.every(({ columns }) => columns.includes(name)));
    const free = named.every(({ kind }) => kind !== "columns");
    return free ? ["", ...(shared.length > 1 ? shared : [])] : shared;
  }

  get column() {
    const { columns } = this;
    if (columns.includes(this.#column)) return this.#column;
    return columns.includes("") ? "" : columns.find((name) => LIKELY.test(name)) ?? columns[0] ?? "";
  }

  set column(name) { this.#column = name; }

  get ofLogits() { return this.id.some(({ kind }) => kind === "logits"); }

  /** Whether both sides are here. */
  get complete() { return this.id.length > 0 && (this.ood.length > 0 || this.id.some(({ kind }) => kind === "openood")); }

  /** What the sides are called. */
  get names() {
    const of = (files) => files.map(({ name }) => name).join(", ");
    return this.ood.length > 0 ? { id: of(this.id), ood: of(this.ood) } : { id: `${of(this.id)}, label 0 or more`, ood: `${of(this.id)}, label -1` };
  }

  /** What the command line calls the set: by the first of its files, without the ending. */
  get setName() { return (this.ood[0] ?? this.id[0]).name.replace(/(.)\.[^.]*$/, "$1"); }

  /** Everything that the scores depend on. */
  get key() {
    const of = (files) => files.map(({ name, file }) => [name, file.size, file.lastModified]);
    return JSON.stringify([of(this.id), of(this.ood), this.column, this.known]);
  }

  /** The scores of both sides, of another column where that is given. @returns {Promise<import("./study.js").SidedScore[]>} */
  async read(analyst, column = this.column) {
    const { known, id, ood } = this;
    if (!column && this.columns.length === 0) {
      const { name, columns } = [...id, ...ood].find(({ kind }) => kind === "columns");
      throw new Error(`${name}: expected a column that the other files have, too, found ${columns.map((text) => `\`${text}\``).join(", ")}`);
    }
    const named = (files) => files.map(({ file, name, columns }) => ({ file, name, column: columns.length > 0 && column || undefined }));
    const pairs = await analyst.ask("scorePairs", { id: named(id), ood: named(ood), known });
    return pairs.map(({ score, ...pair }) => ({ id: score, label: score, pair }));
  }

  /** The command line that measures the same. */
  command(definition, { resamples, seed }) {
    const words = ["eloc", "metrics", "--id", ...this.id.map(({ name }) => name)];
    if (this.ood.length > 0) words.push("--ood", ...this.ood.map(({ name }) => name));
    if (this.column) words.push("--column", this.column);
    if (this.known === "lower") words.push("--known", "lower");
    words.push("--definition", definition, "--resamples", String(resamples), "--seed", String(seed), "--format", "json");
    return words.map(quoted).join(" ");
  }
}

/** A word for a shell. */
const quoted = (word) => (/^[\w./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
