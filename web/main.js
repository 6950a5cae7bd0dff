// Puts the page together: loads the program, binds what can be clicked, and keeps everything up to date. start.js loads it where
// the browser can run it.
//
// Behind this door lie two rooms. views/ shows things and listens to the visitor: one file for each part of the page, of which
// gallery.js is a good one to begin with. engine/ works on images and networks, in workers, and knows nothing of the page:
// begin with scorer.js. A file imports from its own room and the ones below: door, views, engine.
import { Analyst } from "./engine/analyst.js";
import { ByteProgress, loadProgram } from "./engine/download.js";
import { drawings } from "./engine/drawings.js";
import { IMAGE_BYTES, IMAGE_LIMIT, ImageSet } from "./engine/imageset.js";
import { Importer } from "./engine/import.js";
import { isArray } from "./engine/scorefiles.js";
import { Scorer } from "./engine/scorer.js";
import { Details } from "./views/details.js";
import { setUpDevice, showReport } from "./views/device.js";
import { byId, el, onClick, throttled, write } from "./views/dom.js";
import { Evaluator } from "./views/evaluator.js";
import { csvOf, download } from "./views/export.js";
import { Gallery } from "./views/gallery.js";
import { setUpInput } from "./views/input.js";
import { clearProblems, downloadProblems, notice, problem, say } from "./views/messages.js";
import { Networks } from "./views/networks.js";
import { ODIN, settings } from "./views/settings.js";
import { setUpSettings, showSettings } from "./views/settingsform.js";
import { choosePublished, showMeasured, showPublished } from "./views/tables.js";
import { setUpTabs } from "./views/tabs.js";
import { VERDICTS } from "./views/verdict.js";
import { listed, whole } from "./views/words.js";
import { isBusy, setUpWork, showWork } from "./views/work.js";

/** Size of the program where the server does not say: only the bar depends on it. */
const PROGRAM_BYTES = 2_600_000;
/**
 * The mix behind the button for a first try. Drawings of things, by kind and seed: of sixty seeds of each kind the ones that the
 * networks for CIFAR-10 are surest about. And what is like nothing: kind, images (of shapes: a class), seed.
 */
const DRAWN = [
  ["ship", 52], ["ship", 43], ["ship", 32], ["airplane", 10], ["airplane", 29], ["airplane", 37],
  ["truck", 31], ["truck", 23], ["truck", 48], ["automobile", 47], ["automobile", 52], ["automobile", 45],
];
const SAMPLES = [["shapes", 1, 7], ["patterns", 10, 7], ["uniform", 4, 7], ["gaussian", 4, 7]];

const bytes = new ByteProgress();
bytes.expect("program", PROGRAM_BYTES);
const program = loadProgram((done, total) => {
  if (total) bytes.expect("program", total);
  bytes.reach("program", done);
}).then((loaded) => {
  bytes.finish("program");
  return loaded;
});

const asked = new URLSearchParams(location.search).get("backend");
// The last two are for the evaluator: what is waited for, and what may take long.
const analyst = new Analyst(program), statistician = new Analyst(program), resampler = new Analyst(program);
const scorer = new Scorer(program, analyst, ["webgpu", "cpu"].includes(asked) ? asked : null);
const gallerySet = new ImageSet("images");
const room = () => IMAGE_LIMIT - scorer.sets.reduce((sum, set) => sum + set.count, 0);
const importer = new Importer(program, room);
const details = new Details(scorer, analyst);
const open = (set, index) => details.open(set, index);
const gallery = new Gallery(gallerySet, scorer, open);
const closeDetails = (set) => details.closeOf(set);
const evaluator = new Evaluator({ scorer, analyst, statistician, resampler, importer, open, closeDetails, room });
const networks = new Networks({ scorer, analyst, program, bytes, leave: () => details.close(), shown: ensembleShown, changed: update,
  measured(name, results) {
    showMeasured(name, results, scorer.scoreNames);
    evaluator.takeMeasured(results);
  },
});

scorer.addSet(gallerySet);
bind();
follow();
showPublished().catch((error) => byId("published").append(`The published results could not be loaded. ${error.message}`));
networks.start();
byId("not-started").remove();

/** What the page says about the ensemble. */
function ensembleShown({ name, manifest: { classes, dataset, folds } }) {
  document.documentElement.dataset.weights = name;
  const number = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten"][folds.length] ?? whole(folds.length);
  byId("lead").textContent = `${number} small ${folds.length === 1 ? "classifier" : "classifiers"}`;
  const unseen = folds.map((fold) => fold.left_out.length), largest = Math.max(...unseen);
  const never = largest === 0 ? "" : `; each has never seen ${unseen.every((count) => count === largest) ? "" : "up to "}${largest} of them`;
  write(byId("knows"), classes.length > 20
    ? `They know ${classes.length} classes, such as ${listed(classes.slice(0, 8))}${never}.`
    : `They know ${listed(classes)}${never}.`);
  gallery.setClasses(classes);
  choosePublished(dataset);
  evaluator.ensembleChanged();
  showSettings(scorer);
}

/** What can be clicked, and dropped. */
function bind() {
  // A link's own way would take the settings out of the address.
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("content").focus();
  });
  setUpTabs(() => {
    showReport(scorer);
    gallery.refresh();
  });
  setUpSettings(scorer);
  setUpInput({ gallery: takeForGallery, side: (side, items) => evaluator.take(side, items), elsewhere: takeElsewhere });
  onClick(byId("try"), trySamples);
  byId("filter-verdict").replaceChildren(el("option", { value: "" }, "All verdicts"),
    ...Object.entries(VERDICTS).map(([value, text]) => el("option", { value }, text)));
  setUpWork(scorer, importer, update);
  byId("clear").addEventListener("click", clearGallery);
  byId("problems-clear").addEventListener("click", clearProblems);
  byId("problems-csv").addEventListener("click", downloadProblems);
  byId("export-csv").addEventListener("click", () =>
    scorer.ensemble && download("eloc-scores.csv", "text/csv", csvOf(scorer, [gallerySet], scorer.scoreNames)));
  setUpDevice(scorer, analyst, () => networks.selfTest);
  window.eloc = { debug: {
    loseDevice: () => scorer.askWorker("debug-lose-device"),
    fetch: (url) => scorer.askWorker("debug-fetch", { url }),
  } };
}

/** What the page does when scores, files or settings change. */
function follow() {
  scorer.addEventListener("change", throttled(update, 100));
  scorer.addEventListener("notice", ({ detail }) => notice(detail.text, detail.kind));
  scorer.addEventListener("scores", ({ detail: { set, start, count } }) => {
    if (set === gallerySet) gallery.refresh();
    else evaluator.update();
    details.refresh(set, start, count);
  });
  importer.addEventListener("change", throttled(update, 100));
  importer.addEventListener("problem", ({ detail }) => problem(detail.label, detail.reason));
  importer.addEventListener("stopped", ({ detail }) => notice(`Reading stopped. ${detail.reason}`, "error"));
  importer.addEventListener("weights", ({ detail }) => networks.bring(detail.files));
  settings.addEventListener("change", ({ detail: { names } }) => {
    const odinChanged = ODIN.some((name) => names.includes(name));
    if (scorer.ensemble && odinChanged) scorer.setOdin(settings.odin(scorer.ensemble.manifest));
    if (names.includes("definition") || names.includes("baseline")) evaluator.update();
    if (odinChanged || names.includes("set") || names.includes("score")) evaluator.otherScores();
    if (odinChanged) details.settingsChanged();
    if (names.includes("weights")) networks.follow();
    showSettings(scorer);
    gallery.refresh();
  });
}

/** Takes what was dropped beside the places for it. */
function takeElsewhere(items) {
  if (settings.get("tab") !== "evaluate") return takeForGallery(items);
  notice("Drop it on one of the two sides: images like the training images, or their scores, on In-distribution, anything else on the other.", "info");
}

function takeForGallery(items) {
  if (items.every(isArray)) {
    return notice("Files of scores are measured on the tab Evaluate: drop them on one of its sides.", "info");
  }
  settings.set({ tab: "score" });
  importer.read(listed(items.map(({ name }) => name)), gallerySet, items.flatMap(({ files }) => files), { added: galleryGrew });
}

function galleryGrew() {
  scorer.resume();
  gallery.refresh();
}

async function trySamples() {
  try {
    const drawn = DRAWN.slice(0, room());
    gallerySet.add(drawn.map(([kind, seed]) => `drawing of ${/^a/.test(kind) ? "an" : "a"} ${kind} ${seed}`), drawn.map(([kind]) => kind), drawings(drawn));
    galleryGrew();
    for (const [kind, count, seed] of SAMPLES) {
      const { images } = await analyst.ask("generate", { kind, count, seed });
      gallerySet.addMade(kind, [], images.subarray(0, room() * IMAGE_BYTES));
      galleryGrew();
    }
  } catch (error) {
    notice(`The images could not be made. ${error.message}`, "error");
  }
}

function clearGallery() {
  importer.cancel(gallerySet);
  details.close();
  scorer.removeSet(gallerySet);
  gallerySet.clear();
  scorer.addSet(gallerySet);
  clearProblems();
  gallery.refreshNow();
}

/** The state of the page, for people and for tests. */
function update() {
  const root = document.documentElement;
  const { wanted } = scorer.progress();
  root.dataset.backend = scorer.backend;
  root.dataset.folds = scorer.ensemble?.loaded ?? 0;
  root.dataset.workers = scorer.workers.count;
  byId("backend").value = scorer.backend;
  const busy = isBusy(scorer, importer);
  const state = scorer.failure || networks.broken ? "failed" : !networks.warm ? "loading" : busy ? "scoring" : wanted > 0 ? "idle" : "ready";
  if (state !== root.dataset.state) {
    // What the page says of its state must already be seen.
    gallery.refreshNow();
    root.dataset.state = state;
    if (state === "idle") say(gallerySet.count > 0 ? byId("gallery-summary").textContent : "All images are scored.");
  }
  showWork(scorer, importer);
  if (!byId("panel-device").hidden) showReport(scorer);
}
