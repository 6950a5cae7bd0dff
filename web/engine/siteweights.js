// The weights that the site offers, through a cache that goes by content.
import { collect, fresh, reached, request } from "./download.js";
import { EnsembleFiles } from "./ensemble.js";

const CACHE = "eloc-weights";
/** What names other files must not be older than they are. */
const FRESH = { cache: "no-cache" };

/** The weights that the site offers: [{ name }], the default first. */
export async function siteWeights() {
  return fresh(async (options) => (await request("weights/index.json", { ...FRESH, ...options })).json());
}

/** Fetches the manifest of the site's weights `name`; its folds come later, one by one. */
export async function siteEnsemble(name) {
  return fresh(async (options) => {
    const response = await request(`weights/${name}/manifest.json`, { ...FRESH, ...options });
    return new EnsembleFiles(name, new Uint8Array(await response.arrayBuffer()));
  });
}

/** What `eloc evaluate` measured for the site's weights `name`; null where nothing is stored. */
export async function siteResults(name) {
  return fresh(async (options) => {
    const response = await reached(`weights/${name}/results.json`, { ...FRESH, ...options });
    return response.ok ? response.json() : null;
  });
}

/**
 * Hands one fold's file to `use`, from the cache, or from the site where the cache has none that is whole. `use` checks the content
 * of what the site sends, and throws where it is wrong. What was used is kept, under its SHA-256.
 * @param {{ file: string, bytes: number, sha256: string }} fold
 * @param {(bytes: number) => void} onBytes how much is here so far
 * @param {(bytes: Uint8Array) => Promise<void>} use
 */
export async function useSiteFold(name, fold, onBytes, use) {
  const cache = await openCache(), key = cacheKey(fold.sha256);
  const kept = await keptBytes(cache, key);
  if (kept && await isWhole(kept, fold)) {
    onBytes(kept.length);
    return use(kept);
  }
  // The site names them by their contents: no cache holds an older one, and no host takes an ending for an encoding.
  const address = `weights/${name}/${fold.sha256}`;
  const bytes = await fresh(async (options) => {
    const found = await collect(await request(address, options), onBytes);
    // The second time the content is what the site has, and `use` says what is wrong with it.
    if (!options.cache && !await isWhole(found, fold)) throw new Error(`${address} is damaged.`);
    return found;
  });
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
    const owner = (await cache.match(key).catch(() => null))?.headers.get("x-weights");
    if ((owner === name && !current.has(key.url)) || !offered.includes(owner)) await cache.delete(key);
  }
}

/** Null where the browser has no cache for this page, as in some private windows: everything works without. */
async function openCache() {
  try {
    // In a sandboxed frame even to name it is an error.
    return await globalThis.caches?.open(CACHE) ?? null;
  } catch {
    return null;
  }
}

/** What the cache has under `key`; null where that is nothing, or cannot be read. */
async function keptBytes(cache, key) {
  try {
    const hit = await cache?.match(key);
    return hit ? new Uint8Array(await hit.arrayBuffer()) : null;
  } catch {
    return null;
  }
}

/** Whether `bytes` are those of the manifest, by their hash; where the browser makes none, as without https, by their number. */
async function isWhole(bytes, { bytes: length, sha256 }) {
  if (bytes.length !== length) return false;
  if (!globalThis.crypto?.subtle) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}

function cacheKey(sha256) {
  return new URL(`weights/by-content/${sha256}`, location.href).href;
}
