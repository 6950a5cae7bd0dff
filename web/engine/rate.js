// How fast the networks go.

/** The speed is that of so long a time. */
const WINDOW_MS = 10_000;

/** Network passes a second, of late. */
export class Rate {
  /** The first one only says when the work began. */
  #entries = [];

  /** Work begins, or goes on. */
  begin() {
    if (this.#entries.length === 0) this.add(0);
  }

  add(passes) { this.#entries.push({ at: performance.now(), passes }); }

  /** What was measured says nothing about what comes. */
  forget() { this.#entries = []; }

  /** Null where nothing is known. */
  perSecond() {
    const now = performance.now();
    this.#entries = this.#entries.filter(({ at }) => now - at < WINDOW_MS);
    const [first, ...others] = this.#entries;
    if (others.length === 0 || now === first.at) return null;
    return (1000 * others.reduce((sum, { passes }) => sum + passes, 0)) / (now - first.at);
  }
}
