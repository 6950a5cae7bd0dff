// The weights that the site offers, through a cache that goes by content.
import { collect, reached, request } from "./download.js";
import { EnsembleFiles } from "./ensemble.js";

const CACHE = "eloc-weights";
/** What names other files must not be older than they are. */
const FRESH = { cache: "no-cache" };

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
 * Hands one fold's file to `use`, from the cache or the site. Its content is not checked here: `use` throws where it is damaged.
 * Then a file of the cache is fetched anew; one of the site is an error. What was used is kept, under its SHA-256.
 * @param {{ file: string, bytes: number, sha256: string }} fold
 * @param {(bytes: number) => void} onBytes how much is here so far
 * @param {(bytes: Uint8Array) => Promise<void>} use
 */
export async function useSiteFold(name, fold, onBytes, use) {
  const cache = await openCache(), key = cacheKey(fold.sha256);
  const hit = await cache?.match(key).catch(() => null);
  if (hit) {
    const bytes = new Uint8Array(await hit.arrayBuffer());
    onBytes(bytes.length);
    try {
      return await use(bytes);
    } catch {
      await cache.delete(key);
    }
  }
  // The site names them by their contents: no cache holds an older one, and no host takes an ending for an encoding.
  const bytes = await collect(await request(`weights/${name}/${fold.sha256}`), onBytes);
  await use(bytes);
  const headers = { "x-weights": name, "content-type": "application/octet-stream" };
  // A full disk is no reason to stop.
  await cache?.put(key, new Response(bytes, { headers })).catch(() => {});
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

/** Null where the browser has no cache for this page, as in some private windows: everything works without. */
async function openCache() {
  return globalThis.caches?.open(CACHE).catch(() => null) ?? null;
}

function cacheKey(sha256) {
  return new URL(`weights/by-content/${sha256}`, location.href).href;
}
