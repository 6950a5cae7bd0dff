// Puts the page together: loads the program and the networks, binds what can be clicked, and keeps everything up to date.
import { Details } from "./details.js";
import { setUpDevice, showReport } from "./device.js";
import { byId, duration, el, listed, misfit, onClick, percent, plural, throttled, whole } from "./dom.js";
import { Evaluator } from "./evaluator.js";
import { csvOf, download } from "./export.js";
import { Gallery } from "./gallery.js";
import { IMAGE_BYTES, IMAGE_LIMIT, ImageSet } from "./imageset.js";
import { Importer, clipboardItems, droppedItems, pastedItems, pickedItems } from "./import.js";
import { Scorer } from "./scorer.js";
import { settings } from "./settings.js";
import { choosePublished, showMeasured, showPublished } from "./tables.js";
import { VERDICTS } from "./verdict.js";
import * as weights from "./weights.js";
import { Analyst } from "./workers.js";

/** Size of the program where the server does not say: only the bar depends on it. */
const PROGRAM_BYTES = 2_600_000;
/** Networks from this size on are announced: the compact ones take a tenth of it. */
const LARGE_BYTES = 64 * 2 ** 20;
/** Memory that loaded networks take at most, in multiples of their files. */
const MEMORY_PER_BYTE = 5;
/** Problems listed; of more only the number is shown. */
const PROBLEMS_SHOWN = 500;
/** The mix behind the button for a first try: kind, images (of shapes: a class), seed. */
const SAMPLES = [["shapes", 2, 7], ["patterns", 16, 7], ["uniform", 4, 7], ["gaussian", 4, 7]];

const bytes = new weights.ByteProgress();
bytes.expect("program", PROGRAM_BYTES);
const module = weights.compileModule((done, total) => {
  if (total) bytes.expect("program", total);
  bytes.reach("program", done);
}).then((compiled) => {
  bytes.finish("program");
  return compiled;
});

const asked = new URLSearchParams(location.search).get("backend");
const analyst = new Analyst(module), statistician = new Analyst(module);
const scorer = new Scorer(module, analyst, ["webgpu", "cpu"].includes(asked) ? asked : null);
const gallerySet = new ImageSet("images");
const room = () => IMAGE_LIMIT - scorer.sets.reduce((sum, set) => sum + set.count, 0);
const importer = new Importer(module, room);
const details = new Details(scorer, analyst);
const open = (set, index) => details.open(set, index);
const gallery = new Gallery(gallerySet, scorer, open);
const closeDetails = (set) => details.closeOf(set);
const evaluator = new Evaluator({ scorer, analyst, statistician, importer, open, closeDetails, notice, room });

let offered = [];
/** Ensembles that the visitor brought, by the name in the choice. */
const own = new Map();
let selfTest = null;
let warm = false;
let problems = 0;
/** Changes of the ensemble, one after the other. */
let turn = Promise.resolve();
let generation = 0;
let broken = false;
/** The ensemble of the site or the visitor's that was chosen last, whether or not it could be loaded. */
let chosen = null;
/** Says why the networks cannot be used, until they can. */
let failure = null;
const sayNowAndThen = throttled(() => say(byId("work-text").textContent), 15_000);
const sayProblems = throttled(() => say(byId("problems-summary").textContent), 2_000);

scorer.addSet(gallerySet);
bind();
showPublished().catch((error) => byId("published").append(`The published results could not be loaded. ${error.message}`));
boot();

async function boot() {
  try {
    offered = await weights.siteWeights();
    if (offered.length === 0) throw new Error("This site has none; drop a weights folder of your own.");
    listWeights();
    const wanted = settings.get("weights");
    const name = offered.some((entry) => entry.name === wanted) ? wanted : offered[0].name;
    await choose(name);
  } catch (error) {
    fail(error);
  }
}

/** Changes the ensemble by `work`, after any change that is still under way; `current()` says whether none was asked for since. */
function change(work) {
  const mine = ++generation;
  const current = () => mine === generation;
  turn = turn.then(() => work(current)).catch(fail);
  return turn;
}

/** Makes the ensemble `name` the one that scores. */
function choose(name) {
  chosen = name;
  return change((current) => current() && use(name, current));
}

async function use(name, current) {
  byId("load").hidden = false;
  byId("load").classList.remove("failed");
  byId("retry").hidden = true;
  failure?.remove();
  const brought = own.get(name);
  const ensemble = brought ? new weights.EnsembleFiles(name, brought.files.manifestBytes, brought.files) : await weights.siteEnsemble(name);
  const { manifest } = ensemble;
  if (!brought) for (const fold of manifest.folds) bytes.expect(fold.file, fold.bytes);
  warnOfSize(name, manifest);
  phase("Loading the program and the networks.");
  details.close();
  broken = false;
  warm = false;
  await scorer.setEnsemble(ensemble, () => settings.odin(manifest));
  const answer = await analyst.setEnsemble(ensemble.manifestBytes);
  selfTest = answer.selfTest;
  ensembleShown(ensemble);
  for (const [position, fold] of manifest.folds.entries()) {
    if (!current()) return;
    phase(`Loading network ${position + 1} of ${manifest.folds.length}.`);
    const file = brought ? { bytes: brought.folds[position] } : await fetchFold(name, fold);
    phase(`Verifying network ${position + 1} of ${manifest.folds.length}.`);
    await addFold(ensemble, fold, file, brought);
    if (position === 0) await warmUp();
    update();
  }
  performance.mark("eloc:loaded");
  byId("load").hidden = true;
  update();
  await measured(ensemble);
  if (!brought) await weights.evictStale(name, manifest, offered.map((entry) => entry.name)).catch(() => {});
}

/**
 * Networks of the size of a WideResNet are loaded one by one, but stay: their files in half precision, for a worker that has to
 * start anew, and their weights in single precision. In Chromium five of WRN-28-10, 349 MiB, took 1,491 MiB at most.
 */
function warnOfSize(name, { folds }) {
  const size = folds.reduce((sum, fold) => sum + fold.bytes, 0);
  if (size < LARGE_BYTES) return;
  const mebibytes = (n) => Math.ceil(n / 2 ** 20).toLocaleString("en");
  notice(`The networks of "${name}" take ${mebibytes(size)} MiB to load and up to ${mebibytes(MEMORY_PER_BYTE * size)} MiB of memory. ` +
    "A device that has less stops with an error; nothing is lost then.", "warning");
}

/** The networks score without results of the command line, so these must not stand in their way. */
async function measured({ name, own: mine, results }) {
  try {
    showMeasured(name, mine ? results : await weights.siteResults(name), scorer.scoreNames);
  } catch {
    showMeasured(name, null, scorer.scoreNames);
    notice(`The results stored with "${name}" cannot be shown.`, "warning");
  }
}

function fetchFold(name, fold) {
  return weights.siteFold(name, fold, (done) => bytes.reach(fold.file, done));
}

/** A damaged file in the cache is fetched anew, once; a damaged file of the site is an error. */
async function addFold(ensemble, fold, file, brought) {
  try {
    await scorer.addFold(file.bytes);
  } catch (error) {
    if (!file.cached) throw error;
    await weights.forgetFold(fold);
    file = await fetchFold(ensemble.name, fold);
    await scorer.addFold(file.bytes);
  }
  if (!brought && !file.cached) await weights.keepFold(ensemble.name, fold, file.bytes);
}

async function warmUp() {
  phase(scorer.backend === "webgpu" ? "Compiling shaders. On some devices this takes a minute." : "Warming up.");
  await scorer.warmUp();
  warm = true;
  performance.mark("eloc:ready");
}

/** What the page says about the ensemble. */
function ensembleShown({ name, manifest, own: mine }) {
  const { classes, folds } = manifest;
  document.documentElement.dataset.weights = name;
  byId("weights").value = name;
  if (!mine) settings.set({ weights: name === offered[0].name ? null : name });
  const number = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten"][folds.length] ?? whole(folds.length);
  byId("lead").textContent = `${number} small classifiers`;
  byId("knows").textContent = classes.length > 20
    ? `They know ${classes.length} classes, such as ${listed(classes.slice(0, 8))}; each has never seen ${plural(folds[0].left_out.length, "class")} of them.`
    : `They know ${listed(classes)}; each has never seen ${folds[0].left_out.length} of these ${classes.length}.`;
  gallery.setClasses(classes);
  choosePublished(manifest.dataset);
  evaluator.ensembleChanged();
  settingsShown();
}

/** Files that turned out to be weights: all ensembles among them are offered, and the first good one is used at once. */
function bringOwn({ detail: { files } }) {
  const { ensembles, problems: bad } = weights.ownEnsembles(files);
  bad.forEach(({ label, reason }) => problem(label, reason));
  const names = ensembles.map(({ files: ensemble, folds }) => {
    let name = ensemble.name;
    for (let n = 2; own.has(name) || offered.some((entry) => entry.name === name); n++) name = `${ensemble.name} ${n}`;
    ensemble.name = name;
    own.set(name, { files: ensemble, folds });
    return name;
  });
  if (names.length > 0) change((current) => useFirst(names, current).then(listWeights));
}

/** Scores by the first of the visitor's ensembles `names` that can be used, or else goes on by what scored before. */
async function useFirst(names, current) {
  const previous = scorer.ensemble?.name ?? offered[0]?.name;
  for (const name of names) {
    if (!current()) return;
    try {
      await use(name, current);
      if (current()) notice(`Images are now scored by your networks "${name}". Settings lead back to the others.`, "info");
      return;
    } catch (error) {
      own.delete(name);
      problem(name, `These weights cannot be used. ${error.message}`);
      notice(`Your networks "${name}" cannot be used. ${error.message}`, "error");
    }
  }
  if (previous && current()) await use(previous, current);
}

function listWeights() {
  byId("weights").replaceChildren(...offered.map(({ name }) => el("option", { value: name }, name)),
    ...[...own.keys()].map((name) => el("option", { value: name }, `${name} (yours)`)));
  byId("weights").value = scorer.ensemble?.name ?? offered[0]?.name;
}

function bind() {
  // A link's own way would take the settings out of the address.
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("content").focus();
  });
  bindTabs();
  bindSettings();
  bindInput();
  byId("filter-verdict").replaceChildren(el("option", { value: "" }, "All verdicts"),
    ...Object.entries(VERDICTS).map(([value, text]) => el("option", { value }, text)));
  bytes.addEventListener("change", throttled(showBytes, 50));
  scorer.addEventListener("change", throttled(update, 100));
  scorer.addEventListener("notice", ({ detail }) => notice(detail.text, detail.kind));
  scorer.addEventListener("scores", ({ detail: { set, start, count } }) => {
    if (set === gallerySet) gallery.refresh();
    else evaluator.update();
    details.refresh(set, start, count);
  });
  importer.addEventListener("change", throttled(update, 100));
  importer.addEventListener("problem", ({ detail }) => problem(detail.label, detail.reason));
  importer.addEventListener("weights", bringOwn);
  byId("cancel").addEventListener("click", () => {
    importer.stop();
    scorer.pause();
    update();
  });
  byId("resume").addEventListener("click", () => {
    importer.resume();
    scorer.resume();
    update();
  });
  byId("retry").addEventListener("click", retry);
  byId("clear").addEventListener("click", clearGallery);
  byId("problems-clear").addEventListener("click", clearProblems);
  byId("export-csv").addEventListener("click", () =>
    scorer.ensemble && download("eloc-scores.csv", "text/csv", csvOf(scorer, [gallerySet], scorer.scoreNames)));
  setUpDevice(scorer, analyst, () => selfTest, notice);
  window.eloc = { debug: {
    loseDevice: () => scorer.askWorker("debug-lose-device"),
    fetch: (url) => scorer.askWorker("debug-fetch", { url }),
  } };
}

function bindTabs() {
  const tabs = ["score", "evaluate", "device"];
  const show = () => {
    for (const name of tabs) {
      const chosen = settings.get("tab") === name;
      byId(`panel-${name}`).hidden = !chosen;
      byId(`tab-${name}`).setAttribute("aria-selected", String(chosen));
      byId(`tab-${name}`).tabIndex = chosen ? 0 : -1;
    }
    showReport(scorer);
    gallery.refresh();
  };
  for (const [i, name] of tabs.entries()) {
    byId(`tab-${name}`).addEventListener("click", () => settings.set({ tab: name }));
    byId(`tab-${name}`).addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (!step) return;
      const next = tabs[(i + step + tabs.length) % tabs.length];
      settings.set({ tab: next });
      byId(`tab-${next}`).focus();
    });
  }
  settings.addEventListener("change", ({ detail }) => detail.names.includes("tab") && show());
  show();
}

function bindSettings() {
  byId("weights").addEventListener("input", () => choose(byId("weights").value));
  byId("backend").addEventListener("input", () =>
    scorer.setBackend(byId("backend").value).catch((error) => notice(error.message, "error")));
  for (const name of ["epsilon", "temperature", "gradient"]) {
    byId(name).addEventListener("change", () => {
      const wrong = misfit(byId(name));
      if (wrong) notice(wrong, "error");
      if (!scorer.ensemble || wrong) return settingsShown();
      const value = name === "gradient" ? byId(name).value : Number(byId(name).value);
      settings.setOdin({ ...scorer.odin, [name]: value }, scorer.ensemble.manifest);
    });
  }
  byId("definition").addEventListener("input", () => settings.set({ definition: byId("definition").value }));
  byId("settings-reset").addEventListener("click", () => {
    settings.set({ epsilon: null, temperature: null, gradient: null, definition: "standard" });
  });
  settings.addEventListener("change", ({ detail: { names } }) => {
    const odinChanged = ["epsilon", "temperature", "gradient"].some((name) => names.includes(name));
    if (scorer.ensemble && odinChanged) scorer.setOdin(settings.odin(scorer.ensemble.manifest));
    if (names.includes("definition")) evaluator.update();
    if (odinChanged) {
      evaluator.otherScores();
      details.settingsChanged();
    }
    const name = settings.get("weights") ?? offered[0]?.name;
    if (names.includes("weights") && offered.some((entry) => entry.name === name) && name !== scorer.ensemble?.name) choose(name);
    settingsShown();
    gallery.refresh();
  });
}

function settingsShown() {
  byId("definition").value = settings.get("definition");
  if (!scorer.ensemble) return;
  for (const name of ["epsilon", "temperature", "gradient"]) byId(name).value = scorer.odin[name];
}

function bindInput() {
  const picker = (button, input, take) => {
    button.addEventListener("click", () => byId(input).click());
    byId(input).addEventListener("change", () => {
      take(pickedItems(byId(input)));
      byId(input).value = "";
    });
  };
  picker(byId("pick-files"), "files", takeForGallery);
  picker(byId("pick-folder"), "folder", takeForGallery);
  for (const button of document.querySelectorAll("[data-pick]")) {
    const input = button.dataset.pick;
    picker(button, input, (items) => evaluator.take(input.split("-")[0], items));
  }
  // The whole window: the page may be shorter.
  dropTarget(document.documentElement, (items) => takeForGallery(items));
  dropTarget(byId("id-drop"), (items) => evaluator.take("id", items));
  dropTarget(byId("ood-drop"), (items) => evaluator.take("ood", items));
  addEventListener("paste", (event) => {
    const items = pastedItems(event.clipboardData);
    if (items.length) takeForGallery(items);
  });
  byId("paste").addEventListener("click", async () => {
    try {
      const items = await clipboardItems();
      if (items.length) takeForGallery(items);
      else notice("There is no image in the clipboard.", "info");
    } catch {
      notice("This browser does not let a button read the clipboard. Press Ctrl+V (on a Mac, Command+V) instead.", "info");
    }
  });
  onClick(byId("try"), trySamples);
}

/** Lets `target` take drops; the innermost target under the mouse does. */
function dropTarget(target, take) {
  const over = (event, on) => {
    event.preventDefault();
    event.stopPropagation();
    target.classList.toggle("dragged", on);
  };
  target.addEventListener("dragover", (event) => over(event, true));
  target.addEventListener("dragleave", (event) => over(event, false));
  target.addEventListener("drop", async (event) => {
    over(event, false);
    try {
      const items = await droppedItems(event.dataTransfer, problem);
      if (items.length) take(items);
      else notice("Expected files to be dropped, found none.", "error");
    } catch (error) {
      notice(`What was dropped cannot be read. ${error.message}`, "error");
    }
  });
}

function takeForGallery(items) {
  settings.set({ tab: "score" });
  importer.read(listed(items.map(({ name }) => name)), gallerySet, items.flatMap(({ files }) => files), { added: galleryGrew });
}

function galleryGrew() {
  scorer.resume();
  gallery.refresh();
}

async function trySamples() {
  try {
    for (const [kind, count, seed] of SAMPLES) {
      addImages(kind, (await analyst.ask("generate", { kind, count, seed })).images);
    }
  } catch (error) {
    notice(`The images could not be made. ${error.message}`, "error");
  }
}

function addImages(kind, pixels) {
  gallerySet.addMade(kind, [], pixels.subarray(0, room() * IMAGE_BYTES));
  galleryGrew();
}

function clearGallery() {
  importer.cancel(gallerySet);
  details.close();
  scorer.removeSet(gallerySet);
  gallerySet.clear();
  scorer.addSet(gallerySet);
  clearProblems();
  gallery.refresh();
}

function clearProblems() {
  problems = 0;
  byId("problems-list").replaceChildren();
  byId("problems").hidden = true;
  byId("problems").dataset.count = 0;
}

function problem(label, reason) {
  problems += 1;
  byId("problems").hidden = false;
  byId("problems").dataset.count = problems;
  byId("problems-summary").textContent = `${plural(problems, "file")} could not be used` +
    (problems > PROBLEMS_SHOWN ? `; the first ${PROBLEMS_SHOWN} are listed` : "");
  sayProblems();
  if (problems <= PROBLEMS_SHOWN) byId("problems-list").append(el("tr", {}, el("th", { scope: "row" }, label), el("td", {}, reason)));
}

function notice(text, kind) {
  const close = el("button", { type: "button", class: "quiet notice-close", onclick: () => box.remove() }, "Dismiss");
  const box = el("div", { class: "notice", "data-kind": kind }, el("p", {}, text), close);
  // The same words again are the same notice.
  for (const other of byId("notices").children) if (other.firstChild.textContent === text) other.remove();
  byId("notices").append(box);
  // Behind the details they would not be heard.
  if (byId("notices").inert) say(text);
  return box;
}

function phase(text) { byId("load-phase").textContent = text; }

function showBytes() {
  byId("load-progress").value = bytes.total ? bytes.done / bytes.total : 0;
  const mebibytes = (n) => (n / 2 ** 20).toFixed(1);
  byId("load-bytes").textContent = `${mebibytes(bytes.done)} of ${mebibytes(bytes.total)} MiB`;
}

function fail(error) {
  const { ensemble } = scorer;
  phase(!warm ? "The page could not start."
    : ensemble?.complete ? "The other networks could not be loaded."
    : "Some of the networks are missing, so scores stay provisional.");
  if (ensemble) ensemble.stuck = !ensemble.complete;
  listWeights();
  byId("load").hidden = false;
  byId("load").classList.add("failed");
  byId("retry").hidden = false;
  broken = !warm;
  update();
  failure = notice(`The networks cannot be used. ${error.message}`, "error");
}

/** Once more, from where it failed; without the program nothing has been done that could be lost. */
async function retry() {
  if (!await module.then(() => true, () => false)) return location.reload();
  if (offered.length === 0) return boot();
  choose(chosen);
}

/** The state of the work, for people and for tests. */
function update() {
  const root = document.documentElement;
  const { done, wanted, imagesPerSecond, secondsLeft } = scorer.progress();
  const reading = importer.progress;
  root.dataset.backend = scorer.backend;
  root.dataset.folds = scorer.ensemble?.loaded ?? 0;
  byId("backend").value = scorer.backend;
  const busy = scorer.busy || reading !== null;
  const state = scorer.failure || broken ? "failed" : !warm ? "loading" : busy ? "scoring" : wanted > 0 ? "idle" : "ready";
  if (state !== root.dataset.state) {
    // What the page says of its state must already be seen.
    gallery.refreshNow();
    root.dataset.state = state;
    if (state === "idle") say(gallerySet.count > 0 ? byId("gallery-summary").textContent : "All images are scored.");
  }

  const stopped = (scorer.paused || scorer.failure !== null) && done < wanted || importer.unread();
  const focused = [byId("cancel"), byId("resume")].includes(document.activeElement);
  byId("work").hidden = !(busy || stopped);
  byId("cancel").hidden = !busy;
  byId("resume").hidden = busy || !stopped;
  // The one that is hidden would lose the focus.
  if (focused) byId(busy ? "cancel" : stopped ? "resume" : "content").focus({ preventScroll: true });
  byId("work-progress").value = wanted ? done / wanted : 0;
  const parts = [];
  if (reading) parts.push(`Reading file ${whole(reading.file)} of ${whole(reading.files)}, ${plural(reading.images, "image")} so far.`);
  if (wanted > 0) parts.push(`${percent(done / wanted)} % scored${stopped && !busy ? "; stopped" : ""}.`);
  if (importer.unread() && !busy) parts.push("Not everything is read yet.");
  if (imagesPerSecond && busy) parts.push(`${imagesPerSecond.toFixed(1)} images/s, ${duration(secondsLeft)} left.`);
  byId("work-text").textContent = parts.join(" ");
  if (!byId("panel-device").hidden) showReport(scorer);
  if (busy && parts.length) sayNowAndThen();
}

/** Tells screen readers, which would stumble over a text that changes ten times a second. */
function say(text) { byId("spoken").textContent = text; }
