// Fetches the page's files and counts their bytes on the way. What the browser has kept of them may be damaged; then they are
// fetched anew.

/** The least module with f32x4.relaxed_madd, a multiplication and an addition in one instruction, which not all browsers know. */
const RELAXED = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 123, 123, 123, 1, 123, 3, 2, 1, 0, 10, 13, 1, 11, 0,
  32, 0, 32, 1, 32, 2, 253, 133, 2, 11]);

/**
 * The program as workers start it: the compiled module, which they share, and the name of the script that belongs to it.
 * @typedef {{ module: WebAssembly.Module, name: "eloc" | "eloc_relaxed" }} Program
 */

/**
 * Fetches and compiles the program, with the instructions that this browser knows; its bytes are counted on the side, so that the
 * browser can still cache its code.
 * @param {(bytes: number, total: number | null) => void} onBytes total is null where the server does not say
 * @returns {Promise<Program>}
 */
export async function loadProgram(onBytes) {
  const name = WebAssembly.validate(RELAXED) ? "eloc_relaxed" : "eloc";
  return { name, module: await fresh((options) => compile(name, options, onBytes)) };
}

async function compile(name, options, onBytes) {
  const response = await request(new URL(`../${name}_bg.wasm.gz`, import.meta.url).href, options);
  // Some hosts take the ending for an encoding, which the browser then undoes by itself.
  const encoded = response.headers.has("content-encoding");
  const total = encoded ? null : Number(response.headers.get("content-length")) || null;
  let done = 0;
  const counted = response.body.pipeThrough(new TransformStream({
    transform(chunk, controller) {
      done += chunk.length;
      onBytes(done, total);
      controller.enqueue(chunk);
    },
  }));
  const plain = encoded ? counted : counted.pipeThrough(new DecompressionStream("gzip"));
  return WebAssembly.compileStreaming(new Response(plain, { headers: { "Content-Type": "application/wasm" } }));
}

/**
 * Does `work` with what the browser may have kept; where that fails, once more with what the server sends.
 * @template T
 * @param {(options: RequestInit) => Promise<T>} work options of the request
 * @returns {Promise<T>}
 */
export async function fresh(work) {
  try {
    return await work({});
  } catch {
    return work({ cache: "reload" });
  }
}

/** What `address` holds; an error that names it where there is nothing. */
export async function request(address, options = {}) {
  const response = await reached(address, options);
  if (!response.ok) throw new Error(`${address} could not be loaded (${response.status}).`);
  return response;
}

/** The answer to a request, which may be a refusal; browsers do not say what they could not reach. */
export async function reached(address, options = {}) {
  try {
    return await fetch(address, options);
  } catch (error) {
    throw new Error(`${address} could not be loaded (${error.message}).`);
  }
}

/** The bytes of an answer, counted as they come. */
export async function collect(response, onBytes) {
  const chunks = [];
  let length = 0;
  const reader = response.body.getReader();
  const next = () => reader.read().catch((error) => {
    throw new Error(`${response.url} could not be loaded to its end (${error.message}).`);
  });
  for (let part = await next(); !part.done; part = await next()) {
    chunks.push(part.value);
    length += part.value.length;
    onBytes(length);
  }
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

/** Bytes of a job made of several files, as one total. Emits "change". */
export class ByteProgress extends EventTarget {
  #files = new Map();

  /** Adds a file of `total` bytes, of which none is here yet. */
  expect(file, total) { this.#update(file, { done: 0, total }); }
  /** Sets how much of `file` is here; an estimated total gives way to what really comes. */
  reach(file, done) {
    const { total = 0 } = this.#files.get(file) ?? {};
    this.#update(file, { done, total: Math.max(total, done) });
  }
  finish(file) {
    const { done } = this.#files.get(file);
    this.#update(file, { done, total: done });
  }
  get done() { return this.#sum("done"); }
  get total() { return this.#sum("total"); }
  #sum(key) { return [...this.#files.values()].reduce((sum, file) => sum + file[key], 0); }
  #update(file, state) {
    this.#files.set(file, state);
    this.dispatchEvent(new Event("change"));
  }
}
