// From files to pixels: reads them in a worker, one job after the other, and hands the images on.
import { IMAGE_BYTES, IMAGE_LIMIT } from "./imageset.js";
import { WorkerClient, WorkerGone } from "./workers.js";

/** Emits "change" (progress), "weights" { files }, "problem" { label, reason }, and "stopped" { reason } when nothing can be read. */
export class Importer extends EventTarget {
  #program;
  #room;
  #jobs = [];
  #current = null;
  /** Jobs that were stopped, of which the rest can still be read. */
  #unread = [];

  /**
   * @param {Promise<import("./download.js").Program>} program
   * @param {() => number} room how many images the page may still take
   */
  constructor(program, room) {
    super();
    this.#program = program;
    this.#room = room;
  }

  /** What is being read, or null: { file, files, images }. */
  get progress() { return this.#active?.progress ?? null; }

  /** Whether anything is being read into `set`, or waits for it. */
  reads(set) { return [this.#active, ...this.#jobs].some((job) => job?.set === set); }

  /** Whether reading was stopped before all was in `set`, or in any set. */
  unread(set = null) { return this.#unread.some((job) => set === null || job.set === set); }

  /**
   * Reads `files`, together called `name`, into `set`.
   * @param {string} name
   * @param {import("./imageset.js").ImageSet} set
   * @param {import("./files.js").Item["files"]} files
   * @param {{ limit?: number, added: () => void, ended?: () => void }} how the most images that `set` may have, and what to do
   *   when some have come, and when reading has ended or was stopped
   */
  read(name, set, files, { limit = Infinity, added, ended = () => {} }) {
    this.#jobs.push({
      name, set, files, limit, added, ended, weights: new Map(), problems: 0,
      // Where to begin: a file, how many of its images are in the set already, and how many of its problems are told.
      file: 0, taken: 0, told: 0, progress: { file: 1, files: files.length, images: 0 },
    });
    if (!this.#current) this.#run();
  }

  /** Stops all reading at once; what was read stays. */
  stop() {
    const waiting = this.#jobs;
    this.#unread = [...new Set([...this.#unread, ...(this.#current ? [this.#current] : []), ...waiting])];
    this.#jobs = [];
    this.#current?.halt();
    waiting.forEach((job) => job.ended());
  }

  /** Reads what was left when reading was stopped. */
  resume() {
    this.#jobs.push(...this.#unread);
    this.#unread = [];
    if (!this.#current) this.#run();
  }

  /** Ends the reading into `set` for good. */
  cancel(set) {
    const others = (job) => job.set !== set;
    this.#jobs = this.#jobs.filter(others);
    this.#unread = this.#unread.filter(others);
    if (this.#current?.set === set) this.#current.halt();
  }

  /** The job in hand, unless it was stopped just now. */
  get #active() { return this.#unread.includes(this.#current) ? null : this.#current; }

  async #run() {
    while (this.#jobs.length > 0) {
      const job = this.#jobs.shift();
      this.#current = job;
      await this.#job(job).catch((error) => this.#problem(job, job.name, error.message));
      this.#current = null;
      job.ended();
    }
    this.dispatchEvent(new Event("change"));
  }

  async #job(job) {
    let halted = false, full = false, client = null, reading = "";
    /** Images of the first file that an earlier reading left in the set, and problems that it told: they come again. */
    let skip = job.taken, known = job.told;
    job.halt = () => {
      halted = true;
      client?.end();
    };
    const program = await this.#program;
    const hear = ({ event, label, ...message }) => {
      if (halted) return;
      // What an archive holds lies, as it were, in a folder of the archive's name.
      const path = label === reading ? label : `${reading}/${label}`;
      if (event === "problem" && known > 0) known -= 1;
      else if (event === "problem") this.#problem(job, path, message.reason);
      if (event === "weights") job.weights.set(path, message.bytes);
      if (event === "images") {
        const again = Math.min(skip, message.labels.length);
        skip -= again;
        full = this.#take(job, message, again);
        if (full) job.halt();
      }
    };
    for (; job.file < job.files.length && !halted; job.file++) {
      const { file, path } = job.files[job.file];
      job.progress.file = job.file + 1;
      reading = path;
      this.dispatchEvent(new Event("change"));
      if (!client?.alive) {
        client = new WorkerClient(hear);
        try {
          await client.ask("start", program);
        } catch (error) {
          if (!halted) this.#stopFor(error);
          break;
        }
      }
      try {
        await client.ask("read", { file, name: path });
      } catch (error) {
        if (halted) break;
        // A file that brings the reader down does not keep the others from being read.
        const reason = error instanceof WorkerGone ? `The reader stopped at this file (${error.message}).` : error.message;
        this.#problem(job, path, reason);
      }
      job.taken = skip = job.told = known = 0;
    }
    client?.end();
    if (halted && !full) return;
    if (job.weights.size > 0) this.dispatchEvent(new CustomEvent("weights", { detail: { files: job.weights } }));
    else if (job.progress.images === 0 && job.problems === 0) this.#problem(job, job.name, "expected images or weights, found none");
  }

  /** Without a reader no file can be read: what is left can be gone on with. */
  #stopFor({ message }) {
    this.stop();
    this.dispatchEvent(new CustomEvent("stopped", { detail: { reason: message } }));
    this.dispatchEvent(new Event("change"));
  }

  /** Adds images to the job's set, but for the first `known`; true when no more should come. */
  #take(job, { labels, classNames, pixels }, known) {
    const room = this.#room(), offered = labels.length - known;
    const wanted = Math.max(0, Math.min(job.limit - job.set.count, room, offered));
    if (wanted > 0) {
      const end = known + wanted;
      job.set.add(labels.slice(known, end), classNames.slice(known, end), pixels.subarray(known * IMAGE_BYTES, end * IMAGE_BYTES));
      job.progress.images += wanted;
      job.taken += wanted;
      job.added();
      this.dispatchEvent(new Event("change"));
    }
    if (wanted < offered && room <= wanted) {
      this.#problem(job, job.name, `The page holds at most ${IMAGE_LIMIT.toLocaleString("en-US")} images; the rest was left out.`);
    }
    return wanted < offered || job.set.count >= job.limit;
  }

  #problem(job, label, reason) {
    job.problems += 1;
    job.told += 1;
    this.dispatchEvent(new CustomEvent("problem", { detail: { label, reason } }));
  }
}
