// Where the networks come from: the site's own weights, through a cache that goes by content, or files of the visitor's.

const CACHE = "eloc-weights";
/** What names other files must not be older than they are. */
const FRESH = { cache: "no-cache" };

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

/** A set of networks that score together. `folds` has the bytes that are here, in the manifest's order. */
export class EnsembleFiles {
  folds = [];
  /** Whether the folds that are still missing will not come. */
  stuck = false;
  constructor(name, manifestBytes, { own = false, results = null } = {}) {
    this.name = name;
    this.manifestBytes = manifestBytes;
    this.manifest = JSON.parse(new TextDecoder().decode(manifestBytes));
    this.own = own;
    this.results = results;
  }
  /** How many of its folds are here. */
  get loaded() { return this.folds.length; }
  get complete() { return this.loaded === this.manifest.folds.length; }
}

/** The weights that the site offers: [{ name }], the default first. */
export async function siteWeights() {
  return (await request("weights/index.json", FRESH)).json();
}

/** Fetches the manifest of the site's weights `name`; its folds come later, one by one. */
export async function siteEnsemble(name) {
  const manifest = new Uint8Array(await (await request(`weights/${name}/manifest.json`, FRESH)).arrayBuffer());
  return new EnsembleFiles(name, manifest);
}

/** What `eloc evaluate` measured for the site's weights `name`; null where nothing is stored. */
export async function siteResults(name) {
  const response = await reached(`weights/${name}/results.json`, FRESH);
  return response.ok ? response.json() : null;
}

/**
 * One fold's file, from the cache or the site. Its content is not checked here: the module does that before it parses.
 * @param {{ file: string, bytes: number, sha256: string }} fold
 * @param {(bytes: number) => void} onBytes how much is here so far
 * @returns {Promise<{ bytes: Uint8Array, cached: boolean }>}
 */
export async function siteFold(name, fold, onBytes) {
  const cache = await openCache();
  const hit = await cache?.match(cacheKey(fold.sha256)).catch(() => null);
  if (hit) {
    const bytes = new Uint8Array(await hit.arrayBuffer());
    onBytes(bytes.length);
    return { bytes, cached: true };
  }
  // The site names them by their contents: no cache holds an older one, and no host takes an ending for an encoding.
  const bytes = await collect(await request(`weights/${name}/${fold.sha256}`), onBytes);
  return { bytes, cached: false };
}

/** Keeps a fold whose content has been checked, under its SHA-256. A full disk is no reason to stop. */
export async function keepFold(name, fold, bytes) {
  const cache = await openCache();
  const headers = { "x-weights": name, "content-type": "application/octet-stream" };
  await cache?.put(cacheKey(fold.sha256), new Response(bytes, { headers })).catch(() => {});
}

/** Removes a fold whose content turned out to be damaged. */
export async function forgetFold(fold) {
  await (await openCache())?.delete(cacheKey(fold.sha256));
}

/** Removes what no manifest of this deployment asks for any more: older folds of `name`, and weights no longer offered. */
export async function evictStale(name, manifest, offered) {
  const cache = await openCache();
  const current = new Set(manifest.folds.map((fold) => cacheKey(fold.sha256)));
  const ours = new URL("weights/", location.href).href;
  for (const key of (await cache?.keys()) ?? []) {
    // Another deployment on this origin keeps its own.
    if (!key.url.startsWith(ours)) continue;
    const owner = (await cache.match(key))?.headers.get("x-weights");
    if ((owner === name && !current.has(key.url)) || !offered.includes(owner)) await cache.delete(key);
  }
}

/**
 * Ensembles among files of the visitor's: one for every folder with a manifest.json.
 * @param {Map<string, Uint8Array>} files by path
 * @returns {{ ensembles: { files: EnsembleFiles, folds: Uint8Array[] }[], problems: { label: string, reason: string }[] }}
 */
export function ownEnsembles(files) {
  const ensembles = [], problems = [];
  const manifests = [...files.keys()].filter((path) => /(^|\/)manifest\.json$/.test(path));
  if (manifests.length === 0) {
    for (const label of files.keys()) {
      problems.push({ label, reason: "Weights need the manifest.json that eloc train wrote beside them." });
    }
  }
  for (const path of manifests) {
    const folder = path.slice(0, -"manifest.json".length);
    try {
      const name = folder.split("/").filter(Boolean).at(-1)?.replace(/\.(zip|tar|tar\.gz|tgz)$/, "") ?? "my weights";
      const ensemble = new EnsembleFiles(name, files.get(path), { own: true, results: resultsIn(`${folder}results.json`) });
      const { folds: entries, fold_count: count } = ensemble.manifest ?? {};
      if (!Array.isArray(entries) || !entries.every((fold) => fold?.file)) throw new Error("The manifest is not one that eloc train wrote.");
      if (entries.length < count) throw new Error(`Only ${entries.length} of their ${count} folds are trained.`);
      const folds = entries.map((fold) => files.get(folder + fold.file));
      const missing = entries.filter((_, i) => !folds[i]);
      if (missing.length) throw new Error(`${missing.map((fold) => fold.file).join(", ")} should lie beside it.`);
      ensembles.push({ files: ensemble, folds });
    } catch (error) {
      problems.push({ label: path, reason: `These weights cannot be used. ${error.message}` });
    }
  }
  return { ensembles, problems };

  /** They are only shown: networks need not go without them. */
  function resultsIn(path) {
    try {
      return files.has(path) ? JSON.parse(new TextDecoder().decode(files.get(path))) : null;
    } catch (error) {
      problems.push({ label: path, reason: `These results cannot be shown. ${error.message}` });
      return null;
    }
  }
}

/**
 * Fetches and compiles the module; its bytes are counted on the side, so that the browser can still cache its code.
 * @param {(bytes: number, total: number | null) => void} onBytes total is null where the server does not say
 * @returns {Promise<WebAssembly.Module>}
 */
export async function compileModule(onBytes) {
  const response = await request(new URL("../eloc_bg.wasm.gz", import.meta.url).href);
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

/** What `address` holds; an error that names it where there is nothing. */
export async function request(address, options = {}) {
  const response = await reached(address, options);
  if (!response.ok) throw new Error(`${address} could not be loaded (${response.status}).`);
  return response;
}

/** The answer to a request, which may be a refusal; browsers do not say what they could not reach. */
async function reached(address, options) {
  try {
    return await fetch(address, options);
  } catch (error) {
    throw new Error(`${address} could not be loaded (${error.message}).`);
  }
}

async function collect(response, onBytes) {
  const chunks = [];
  let length = 0;
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
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

/** Null where the browser has no cache for this page, as in some private windows: everything works without. */
async function openCache() {
  return globalThis.caches?.open(CACHE).catch(() => null) ?? null;
}

function cacheKey(sha256) {
  return new URL(`weights/by-content/${sha256}`, location.href).href;
}
