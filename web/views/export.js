// Files for the visitor to keep: CSV, JSON and SVG.
import { el } from "./dom.js";
import { VERDICTS, className, verdict } from "./verdict.js";
import { oneLine } from "./words.js";

/** Hands `content` to the visitor as a file. */
export function download(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** One line an image: label, verdict, class, and every score; numbers in full precision. */
export function csvOf(scorer, sets, scoreNames) {
  const foldNames = scorer.ensemble.manifest.folds.map(({ number }) => `fold-${number}`);
  const ids = scoreNames.map(({ id }) => id);
  // A folder need not be named by a class.
  const classes = new Set(scorer.ensemble.manifest.classes);
  const lines = [["set", "image", "true_class", "verdict", "class", "probability", "folds", ...ids, ...foldNames]];
  for (const set of sets) {
    for (let i = 0; i < set.count; i++) {
      const folds = set.scored[i];
      const scored = folds > 0;
      lines.push([
        set.name, set.labels[i], classes.has(set.classNames[i]) ? set.classNames[i] : "", VERDICTS[verdict(scorer, set, i)].toLowerCase(), className(scorer, set, i),
        scored ? set.probabilities[i] : "", folds, ...ids.map((id) => (scored ? set.scores[id][i] : "")),
        ...foldNames.map((_, position) => (position < folds ? set.foldScores[position][i] : "")),
      ]);
    }
  }
  return csv(lines);
}

/** Lines of cells as a file. */
export function csv(lines) { return lines.map((line) => line.map(quoted).join(",")).join("\n") + "\n"; }

/**
 * An evaluation as the command line takes it to compare with: its own report, and every image's score.
 * @param {import("../engine/imageset.js").ImageSet} idSet
 * @param {import("../engine/imageset.js").ImageSet[]} oodSets all of both sides scored by all folds
 */
export async function evaluationOf(scorer, analyst, idSet, oodSets, definition) {
  const { ensemble, odin, backend } = scorer;
  const folds = ensemble.manifest.folds.length;
  const sets = [idSet, ...oodSets];
  const seconds = sets.reduce((sum, set) => sum + set.seconds, 0);
  // All of it is taken now: the sets may change while the report is made.
  const [id, ...ood] = sets.map((set) => ({ name: set.name, images: [...set.labels], scores: [...set.scores.eloc.subarray(0, set.count)] }));
  const of = (set) => ({ name: set.name, outputs: set.outputs(folds) });
  const report = await analyst.ask("report", { input: {
    device: backend === "cpu" ? "CPU (browser)" : "WebGPU (browser)", seconds, definition, odin,
    id: { ...of(idSet), labels: trueClasses(idSet, ensemble.manifest.classes) }, ood: oodSets.map(of),
  } });
  return { format: 1, weights: ensemble.name, report, id, ood };
}

/** True classes of a set, [n], where every image has one that the networks know. */
function trueClasses(set, classes) {
  const labels = set.classNames.map((name) => classes.indexOf(name));
  return labels.includes(-1) ? undefined : Uint16Array.from(labels);
}

/** A cell; one that a spreadsheet would take for a formula is kept from being one. */
function quoted(value) {
  const text = oneLine(typeof value === "string" && /^[=+\-@]/.test(value) ? `'${value}` : String(value));
  return /[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** What the page looks like to a plot, for a file that has no page around it; light, as for print. */
const PLOT_STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #333; }
  .axis, .grid { stroke: #999; fill: none; } .grid { stroke: #e5e5e5; }
  .id-fill { fill: #1667b7; fill-opacity: .35; } .ood-fill { fill: #b3541e; fill-opacity: .35; }
  .id-line { stroke: #1667b7; fill: none; stroke-width: 2; } .ood-line { stroke: #b3541e; fill: none; stroke-width: 2; }
  .threshold { stroke: #333; stroke-width: 1.5; stroke-dasharray: 5 3; } .point { fill: #333; }
  .chance { stroke: #bbb; stroke-dasharray: 3 3; }`;

/** A plot as a file of its own. */
export function downloadPlot(name, plot) {
  const text = new XMLSerializer().serializeToString(plot);
  const style = `<style>${PLOT_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>`;
  download(name, "image/svg+xml", text.replace(/(<svg[^>]*>)/, `$1${style}`));
}
