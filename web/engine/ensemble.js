// Networks that belong together, as files.

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
