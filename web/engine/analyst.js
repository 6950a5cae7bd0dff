// Asks for arithmetic: scores from logits, metrics, intervals, curves, generated images.
import { WorkerClient, WorkerGone, WorkerMissing } from "./workers.js";

/** Arithmetic in a worker of its own, started anew when it dies. */
export class Analyst {
  #program;
  #client = null;
  #starting = null;
  #manifest = null;

  /** @param {Promise<import("./download.js").Program>} program */
  constructor(program) { this.#program = program; }

  /**
   * Sets the ensemble that later questions are about.
   * @param {Uint8Array} manifest bytes of manifest.json
   * @returns {Promise<{ selfTest: { images: Uint8Array, scores: Float64Array, odin: object } | undefined }>}
   */
  async setEnsemble(manifest) {
    const answer = await this.ask("ensemble", { bytes: manifest });
    this.#manifest = manifest;
    return answer;
  }

  /** As WorkerClient.ask; a worker that died is replaced and asked once more. */
  async ask(type, input) {
    for (let attempt = 1; ; attempt++) {
      try {
        return await (await this.#ready()).ask(type, input);
      } catch (error) {
        if (!(error instanceof WorkerGone) || error instanceof WorkerMissing || attempt === 2) throw error;
      }
    }
  }

  #ready() {
    if (this.#client?.alive) return this.#starting;
    const client = new WorkerClient();
    this.#client = client;
    this.#starting = this.#start(client).catch((error) => {
      // One that started halfway is of no use; the next question gets a new one.
      client.end(error.message);
      throw error;
    });
    return this.#starting;
  }

  async #start(client) {
    await client.ask("start", await this.#program);
    if (this.#manifest) await client.ask("ensemble", { bytes: this.#manifest });
    return client;
  }
}
