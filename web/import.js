// From a drop, a picker or the clipboard to pixels: collects files, reads them in a worker, hands the images on.
import { IMAGE_BYTES, IMAGE_LIMIT } from "./imageset.js";
import { WorkerClient, WorkerGone } from "./workers.js";

/**
 * One thing that was dropped, picked or pasted.
 * @typedef {{ name: string, files: { file: File, path: string }[] }} Item
 */

/**
 * The files of a drop: a folder is one item, and so is each file.
 * @param {DataTransfer} transfer
 * @param {(path: string, reason: string) => void} problem is told what cannot be opened
 * @returns {Promise<Item[]>}
 */
export async function droppedItems(transfer, problem) {
  // The entries must be taken before the first wait: afterwards the browser empties the list.
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  return Promise.all(entries.filter(Boolean).map(async (entry) => {
    if (entry instanceof File) return { name: entry.name, files: [{ file: entry, path: entry.name }] };
    const files = [];
    await walk(entry, entry.name, files, problem);
    return { name: entry.name, files: sorted(files) };
  }));
}

/** The files of a picker; those of a folder picker belong together. @returns {Item[]} */
export function pickedItems(input) {
  const files = [...input.files];
  const folder = files[0]?.webkitRelativePath?.split("/")[0];
  if (folder) return [{ name: folder, files: sorted(files.map((file) => ({ file, path: file.webkitRelativePath }))) }];
  return files.map((file) => ({ name: file.name, files: [{ file, path: file.name }] }));
}

/** The images and files of a paste event. @returns {Item[]} */
export function pastedItems(transfer) {
  return [...transfer.files].map((file) => ({ name: file.name, files: [{ file, path: file.name || "pasted image" }] }));
}

/** The image in the clipboard, where the browser lets a button read it. @returns {Promise<Item[]>} */
export async function clipboardItems() {
  const items = [];
  for (const content of await navigator.clipboard.read()) {
    const type = content.types.find((candidate) => candidate.startsWith("image/"));
    if (type) items.push({ name: "pasted image", files: [{ file: await content.getType(type), path: "pasted image" }] });
  }
  return items;
}

async function walk(entry, path, files, problem) {
  try {
    if (entry.isFile) {
      files.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      // Browsers hand out at most 100 entries a call; an empty answer is the end.
      const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (entries.length === 0) return;
      await Promise.all(entries.map((child) => walk(child, `${path}/${child.name}`, files, problem)));
    }
  } catch (error) {
    problem(path, error.message);
  }
}

/** By path and without hidden files, as the command line reads a folder. */
function sorted(files) {
  const hidden = ({ path }) => path.split("/").slice(1).some((part) => part.startsWith(".") || part === "__MACOSX");
  return files.filter((file) => !hidden(file)).sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

/**
 * Reads jobs one after the other. Emits "change" (progress), "weights" { files }, and "problem" { label, reason }.
 */
export class Importer extends EventTarget {
  #module;
  #room;
  #jobs = [];
  #current = null;

  /**
   * @param {Promise<WebAssembly.Module>} module
   * @param {() => number} room how many images the page may still take
   */
  constructor(module, room) {
    super();
    this.#module = module;
    this.#room = room;
  }

  /** What is being read, or null: { name, file, files, images }. */
  get progress() { return this.#current?.progress ?? null; }

  /** Whether anything is still to be read into `set`. */
  reads(set) { return [this.#current, ...this.#jobs].some((job) => job?.set === set); }

  /**
   * Reads `files` into `set`.
   * @param {import("./imageset.js").ImageSet} set
   * @param {Item["files"]} files
   * @param {{ limit?: number, added: () => void }} how the most images to take, and what to do when some have come
   */
  read(set, files, { limit = Infinity, added }) {
    return new Promise((resolve) => {
      this.#jobs.push({ set, files, limit, added, resolve, progress: { name: set.name, file: 1, files: files.length, images: 0 } });
      if (!this.#current) this.#run();
    });
  }

  /** Ends the reading into `set`, or all reading, at once; what was read stays. */
  cancel(set = null) {
    const ends = (job) => set === null || job.set === set;
    this.#jobs.filter(ends).forEach((job) => job.resolve());
    this.#jobs = this.#jobs.filter((job) => !ends(job));
    if (this.#current && ends(this.#current)) this.#current.stop();
  }

  async #run() {
    while ((this.#current = this.#jobs.shift() ?? null)) {
      await this.#job(this.#current).catch((error) => this.#problem(this.#current.set.name, error.message));
      this.#current.resolve();
    }
    this.dispatchEvent(new Event("change"));
  }

  async #job(job) {
    const weights = new Map();
    let stopped = false, client = null, reading = "";
    job.stop = () => {
      stopped = true;
      client?.end();
    };
    const module = await this.#module;
    const hear = ({ event, ...message }) => {
      if (stopped) return;
      if (event === "problem") this.#problem(message.label, message.reason);
      // What an archive holds lies, as it were, in a folder of the archive's name.
      const { label } = message;
      if (event === "weights") weights.set(label === reading ? label : `${reading}/${label}`, message.bytes);
      if (event === "images" && this.#take(job, message)) job.stop();
    };
    for (const [index, { file, path }] of job.files.entries()) {
      if (stopped) break;
      job.progress.file = index + 1;
      reading = path;
      this.dispatchEvent(new Event("change"));
      try {
        if (!client?.alive) {
          client = new WorkerClient(hear);
          await client.ask("start", { module });
        }
        await client.ask("read", { file, name: path });
      } catch (error) {
        if (stopped) break;
        // A file that brings the reader down does not keep the others from being read.
        const reason = error instanceof WorkerGone ? `The reader stopped at this file (${error.message}).` : error.message;
        this.#problem(path, reason);
      }
    }
    client?.end();
    if (weights.size > 0 && !stopped) this.dispatchEvent(new CustomEvent("weights", { detail: { files: weights } }));
  }

  /** Adds images to the job's set; true when no more should come. */
  #take(job, { labels, classNames, pixels }) {
    const room = this.#room();
    const wanted = Math.min(job.limit - job.progress.images, room, labels.length);
    if (wanted > 0) {
      job.set.add(labels.slice(0, wanted), classNames.slice(0, wanted), pixels.subarray(0, wanted * IMAGE_BYTES));
      job.progress.images += wanted;
      job.added();
      this.dispatchEvent(new Event("change"));
    }
    if (wanted < labels.length && room <= wanted) {
      this.#problem(job.set.name, `The page holds at most ${IMAGE_LIMIT.toLocaleString("en-US")} images; the rest was left out.`);
    }
    return wanted < labels.length || job.progress.images >= job.limit;
  }

  #problem(label, reason) {
    this.dispatchEvent(new CustomEvent("problem", { detail: { label, reason } }));
  }
}
