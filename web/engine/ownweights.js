// Weights among the visitor's files: those that the command line made.
import { EnsembleFiles } from "./ensemble.js";

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
    try {
      ensembles.push(ensembleAt(path, files, problems));
    } catch (error) {
      problems.push({ label: path, reason: `These weights cannot be used. ${error.message}` });
    }
  }
  return { ensembles, problems };
}

/** The ensemble whose manifest lies at `path`. Throws when it is not whole. */
function ensembleAt(path, files, problems) {
  const folder = path.slice(0, -"manifest.json".length);
  const name = folder.split("/").filter(Boolean).at(-1)?.replace(/\.(zip|tar|tar\.gz|tgz)$/, "") ?? "my weights";
  const results = resultsAt(`${folder}results.json`, files, problems);
  const ensemble = new EnsembleFiles(name, files.get(path), { own: true, results });
  const { folds: entries, fold_count: count } = ensemble.manifest ?? {};
  if (!Array.isArray(entries) || !entries.every((fold) => fold?.file)) throw new Error("The manifest is not one that eloc train wrote.");
  if (entries.length < count) throw new Error(`Only ${entries.length} of their ${count} folds are trained.`);
  const folds = entries.map((fold) => files.get(folder + fold.file));
  const missing = entries.filter((_, i) => !folds[i]);
  if (missing.length) throw new Error(`${missing.map((fold) => fold.file).join(", ")} should lie beside it.`);
  return { files: ensemble, folds };
}

/** Results are only shown: networks need not go without them. */
function resultsAt(path, files, problems) {
  try {
    return files.has(path) ? JSON.parse(new TextDecoder().decode(files.get(path))) : null;
  } catch (error) {
    problems.push({ label: path, reason: `These results cannot be shown. ${error.message}` });
    return null;
  }
}
