// Bootstrap intervals of a study's scores, one score after the other, and of the difference of two scores: in a worker of their own,
// since those of many images take seconds.

/** Settings of the bootstrap, the command line's; fewer resamples while scores still come in. */
export const RESAMPLES = { live: 200, final: 1000 };
export const SEED = 0;

/** The intervals of one study, until another is asked for. */
export class Intervals {
  #analyst;
  /** What is under way. */
  #job = null;
  #state = { key: "", family: "", values: {} };

  /** @param {import("./analyst.js").Analyst} analyst that nothing else waits for */
  constructor(analyst) { this.#analyst = analyst; }

  /**
   * What is known of the study `key`, by score; while images still come, what is known of fewer images of the same `family` does.
   * @returns {Record<string, object>}
   */
  known(key, family, busy) {
    const fit = this.#state.key === key || busy && this.#state.family === family;
    return fit ? this.#state.values : {};
  }

  /**
   * Computes what is not known of the study.
   * @param {{ key: string, family: string, scores: import("./study.js").SidedScore[], definition: string, final: boolean }} study
   * @param {() => boolean} current whether it is still wanted
   * @param {() => void} show is called with every interval
   */
  async fill(study, current, show) {
    // What is under way goes on, for what is shown now.
    if (this.#job?.key === study.key) {
      Object.assign(this.#job, { current, show });
      return this.#job.done;
    }
    const job = this.#job = { key: study.key, current, show, done: null };
    job.done = this.#run(job, study);
    try {
      await job.done;
    } finally {
      if (this.#job === job) this.#job = null;
    }
  }

  async #run(job, { key, family, scores, definition, final }) {
    const values = this.#state.key === key ? this.#state.values : {};
    const wanted = () => this.#job === job && job.current();
    const resamples = final ? RESAMPLES.final : RESAMPLES.live;
    for (const { id, pair } of scores.filter(({ id }) => !(id in values))) {
      if (!wanted()) return;
      // A score that has no metrics has no intervals either, and the table says why.
      const found = await this.#analyst.ask("intervals", { ...pair, definition, resamples, seed: SEED }).catch(() => null);
      if (!wanted()) return;
      values[id] = found;
      this.#state = { key, family, values };
      job.show();
    }
  }
}

/** How two scores of one study differ, until others are compared. */
export class Comparison {
  #analyst;
  #state = { key: "", found: null };

  /** @param {import("./analyst.js").Analyst} analyst as that of the intervals */
  constructor(analyst) { this.#analyst = analyst; }

  /** What is known of the comparison `key`; null while that is nothing. @returns {{ differences, delong } | { error: string } | null} */
  known(key) { return this.#state.key === key ? this.#state.found : null; }

  /**
   * Compares two scores, unless that is known or under way.
   * @param {{ key: string, definition: string, pair: { id: Float64Array, ood: Float64Array } }} study
   * @param {() => Promise<{ id: Float64Array, ood: Float64Array }>} baseline reads what is subtracted
   * @param {() => void} done is called once that is known
   */
  async fill({ key, definition, pair }, baseline, done) {
    if (this.#state.key === key) return;
    this.#state = { key, found: null };
    let found;
    try {
      found = await this.#analyst.ask("compare", { pair, baseline: await baseline(), definition, resamples: RESAMPLES.final, seed: SEED });
    } catch ({ message }) {
      found = { error: message };
    }
    if (this.#state.key !== key) return;
    this.#state = { key, found };
    done();
  }
}
