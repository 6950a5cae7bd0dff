// Puts the page together: loads the program, binds what can be clicked, and keeps everything up to date.
import { Analyst } from "./engine/analyst.js";
import { ByteProgress, compileModule } from "./engine/download.js";
import { clipboardItems, droppedItems, pastedItems, pickedItems } from "./engine/files.js";
import { IMAGE_BYTES, IMAGE_LIMIT, ImageSet } from "./engine/imageset.js";
import { Importer } from "./engine/import.js";
import { Scorer } from "./engine/scorer.js";
import { Details } from "./views/details.js";
import { setUpDevice, showReport } from "./views/device.js";
import { byId, el, misfit, onClick, throttled } from "./views/dom.js";
import { Evaluator } from "./views/evaluator.js";
import { csvOf, download } from "./views/export.js";
import { Gallery } from "./views/gallery.js";
import { clearProblems, notice, problem, say } from "./views/messages.js";
import { Networks } from "./views/networks.js";
import { settings } from "./views/settings.js";
import { choosePublished, showPublished } from "./views/tables.js";
import { VERDICTS } from "./views/verdict.js";
import { duration, listed, percent, plural, whole } from "./views/words.js";

/** Size of the program where the server does not say: only the bar depends on it. */
const PROGRAM_BYTES = 2_600_000;
/** The mix behind the button for a first try: kind, images (of shapes: a class), seed. */
const SAMPLES = [["shapes", 2, 7], ["patterns", 16, 7], ["uniform", 4, 7], ["gaussian", 4, 7]];

const bytes = new ByteProgress();
bytes.expect("program", PROGRAM_BYTES);
const module = compileModule((done, total) => {
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
const evaluator = new Evaluator({ scorer, analyst, statistician, importer, open, closeDetails, room });
const networks = new Networks({ scorer, analyst, module, bytes, leave: () => details.close(), shown: ensembleShown, changed: update });

const sayNowAndThen = throttled(() => say(byId("work-text").textContent), 15_000);

scorer.addSet(gallerySet);
bind();
showPublished().catch((error) => byId("published").append(`The published results could not be loaded. ${error.message}`));
networks.start();

/** What the page says about the ensemble. */
function ensembleShown({ name, manifest: { classes, dataset, folds } }) {
  document.documentElement.dataset.weights = name;
  const number = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten"][folds.length] ?? whole(folds.length);
  byId("lead").textContent = `${number} small ${folds.length === 1 ? "classifier" : "classifiers"}`;
  const unseen = folds.map((fold) => fold.left_out.length), most = Math.max(...unseen);
  const never = most === 0 ? "" : `; each has never seen ${unseen.every((count) => count === most) ? "" : "up to "}${most} of them`;
  byId("knows").textContent = classes.length > 20
    ? `They know ${classes.length} classes, such as ${listed(classes.slice(0, 8))}${never}.`
    : `They know ${listed(classes)}${never}.`;
  gallery.setClasses(classes);
  choosePublished(dataset);
  evaluator.ensembleChanged();
  settingsShown();
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
  scorer.addEventListener("change", throttled(update, 100));
  scorer.addEventListener("notice", ({ detail }) => notice(detail.text, detail.kind));
  scorer.addEventListener("scores", ({ detail: { set, start, count } }) => {
    if (set === gallerySet) gallery.refresh();
    else evaluator.update();
    details.refresh(set, start, count);
  });
  importer.addEventListener("change", throttled(update, 100));
  importer.addEventListener("problem", ({ detail }) => problem(detail.label, detail.reason));
  importer.addEventListener("weights", ({ detail }) => networks.bring(detail.files));
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
  byId("clear").addEventListener("click", clearGallery);
  byId("problems-clear").addEventListener("click", clearProblems);
  byId("export-csv").addEventListener("click", () =>
    scorer.ensemble && download("eloc-scores.csv", "text/csv", csvOf(scorer, [gallerySet], scorer.scoreNames)));
  setUpDevice(scorer, analyst, () => networks.selfTest);
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
    if (names.includes("weights")) networks.follow();
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
  dropTarget(document.documentElement, takeElsewhere);
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

/** Takes what was dropped beside the places for it. */
function takeElsewhere(items) {
  if (settings.get("tab") !== "evaluate") return takeForGallery(items);
  notice("Drop it on one of the two sides: images like the training images on In-distribution, anything else on the other.", "info");
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

/** The state of the work, for people and for tests. */
function update() {
  const root = document.documentElement;
  const { done, wanted, imagesPerSecond, secondsLeft } = scorer.progress();
  const reading = importer.progress;
  root.dataset.backend = scorer.backend;
  root.dataset.folds = scorer.ensemble?.loaded ?? 0;
  byId("backend").value = scorer.backend;
  const busy = scorer.busy || reading !== null;
  const state = scorer.failure || networks.broken ? "failed" : !networks.warm ? "loading" : busy ? "scoring" : wanted > 0 ? "idle" : "ready";
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
  if (imagesPerSecond && busy) parts.push(`${imagesPerSecond < 1 ? imagesPerSecond.toPrecision(2) : imagesPerSecond.toFixed(1)} images/s, ${duration(secondsLeft)} left.`);
  byId("work-text").textContent = parts.join(" ");
  if (!byId("panel-device").hidden) showReport(scorer);
  if (busy && parts.length) sayNowAndThen();
}
