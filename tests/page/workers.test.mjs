// The CPU backend's workers, one for each core, and the two modules, of which a browser takes the one that it understands.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";

import { ROOT, cliScores, dataset, notices, open, picture, scores, scratch, serve, until } from "./site.mjs";

/** A module without a step gives scores that differ in the last digits only. */
const TOLERANCE = 1e-4;
/** Enough images for three workers. */
const COUNT = 72;

let site, files, expected;
before(async () => {
  site = await serve();
  const folder = scratch();
  files = Array.from({ length: COUNT }, (_, index) => picture(join(folder, `${index}.bmp`), index));
  expected = cliScores(files);
});
after(() => site.stop());

/** A browser that says it has so many cores, with further `script`s before the page's own. */
const onCores = (cores, script = "") => `Object.defineProperty(Navigator.prototype, "hardwareConcurrency", { get: () => ${cores} }); ${script}`;
/** A browser that does not know f32x4.relaxed_madd. */
const WITHOUT_RELAXED = `const { validate } = WebAssembly;
  WebAssembly.validate = (bytes) => !String(bytes).includes("253,133,2") && validate(bytes);`;

/** Opens the page after `script` has run in it, waits for all folds, does `steps` and closes the browser. */
const visit = (script, options, steps) => async () => {
  const { browser, page, errors, requests } = await open("about:blank", options);
  try {
    await page.addInitScript(script);
    await page.goto(`${site.origin}/?backend=cpu`);
    await until(page, ["ready"]);
    await page.waitForFunction(() => document.documentElement.dataset.folds === "5");
    await steps(page, requests);
    assert.deepEqual(errors, []);
  } finally {
    await browser.close();
  }
};

/** Scores all files; the results are in their order and the command line's. */
async function scoreAll(page) {
  await page.setInputFiles("#files", files);
  await page.waitForFunction((count) => document.querySelector("#gallery-summary").dataset.total === String(count), COUNT);
  await until(page, ["idle"]);
  const [csv] = await Promise.all([page.waitForEvent("download"), page.click("#export-csv")]);
  const [head, ...rows] = readFileSync(await csv.path(), "utf8").trim().split("\n").map((line) => line.split(","));
  assert.deepEqual(rows.map((row) => row[1]), Array.from({ length: COUNT }, (_, index) => `${index}.bmp`));
  for (const [index, row] of rows.entries()) {
    const difference = Math.abs(Number(row[head.indexOf("eloc")]) - expected[index]);
    assert.ok(difference < TOLERANCE, `${index}: ${difference}`);
  }
}

const modulesOf = (requests) => [...new Set(requests.map((address) => /\/(eloc\w*\.js|\w+\.wasm\.gz)$/.exec(address)?.[1]).filter(Boolean))].sort();

test("three cores share the images with three workers, in the module with fused multiply-adds",
  visit(onCores(3), {}, async (page, requests) => {
    await scoreAll(page);
    assert.equal((await dataset(page)).workers, "3");
    assert.deepEqual(modulesOf(requests), ["eloc_relaxed.js", "eloc_relaxed_bg.wasm.gz"]);
    // Networks come over the wire once, however many workers there are.
    const folds = requests.filter((address) => /\/[0-9a-f]{64}$/.test(address));
    assert.equal(folds.length, new Set(folds).size);
    assert.deepEqual(await notices(page), []);
  }));

test("a browser without relaxed SIMD takes the other module, and has the same scores",
  visit(onCores(1, WITHOUT_RELAXED), {}, async (page, requests) => {
    await scoreAll(page);
    assert.equal((await dataset(page)).workers, "1");
    assert.deepEqual(modulesOf(requests), ["eloc.js", "eloc_bg.wasm.gz"]);
  }));

test("few images, and little memory, start no further workers",
  visit(onCores(8, `Object.defineProperty(Navigator.prototype, "deviceMemory", { get: () => 0.25 });`), {}, async (page) => {
    await page.setInputFiles("#files", files.slice(0, 8));
    await until(page, ["idle"]);
    assert.equal((await dataset(page)).workers, "1");
    await scoreRest(page);
    assert.equal((await dataset(page)).workers, "1");
  }));

async function scoreRest(page) {
  await page.setInputFiles("#files", files.slice(8));
  await page.waitForFunction((count) => document.querySelector("#gallery-summary").dataset.total === String(count), COUNT);
  await until(page, ["idle"]);
}

/** Each worker dies at its third batch. */
const MORTAL = `let asked = 0;
  self.addEventListener("message", (event) => {
    if (event.data.type !== "outputs" || ++asked !== 3) return;
    event.stopImmediatePropagation();
    self.postMessage({ event: "crashed", message: "unreachable" });
  });`;

test("workers that die are replaced, and their batches are done by others",
  visit(onCores(3), { prelude: MORTAL }, async (page) => {
    await scoreAll(page);
    assert.match((await notices(page)).join(), /The program failed \(unreachable\)\. A new one goes on where it stopped/);
  }));

/** Helpers, which get their folds in one go after the page is ready, die before they can do anything. */
const STILLBORN = `let folds = 0;
  self.addEventListener("message", (event) => {
    if (event.data.type === "fold") folds += 1;
    if (event.data.type !== "outputs" || folds < 5 || event.data.id > 9 || self.first) return;
    event.stopImmediatePropagation();
    self.postMessage({ event: "crashed", message: "unreachable" });
  });
  self.addEventListener("message", (event) => { if (event.data.type === "outputs" && folds < 5) self.first = true; });`;

test("where further workers only ever die, the first one does all of the work",
  visit(onCores(3), { prelude: STILLBORN }, async (page) => {
    await scoreAll(page);
    assert.equal((await dataset(page)).workers, "1");
    assert.equal((await dataset(page)).state, "idle");
  }));

test("cancelling with several workers can be gone on with, and does nothing twice",
  visit(onCores(3), {}, async (page) => {
    await page.setInputFiles("#files", files);
    await page.waitForFunction(() => document.documentElement.dataset.workers === "3");
    await page.click("#cancel");
    await until(page, ["idle"]);
    await page.click("#resume");
    await page.waitForFunction(() => [...document.querySelectorAll("#gallery .card")].some((card) => card.dataset.folds === "5"));
    await until(page, ["idle"]);
    const found = await scores(page);
    for (const [index, score] of found.entries()) assert.ok(Math.abs(score - expected[index]) < TOLERANCE, String(index));
  }));

test("only one of the modules has the instructions", () => {
  const dist = join(ROOT, "dist"), app = join(dist, readdirSync(dist).find((name) => name.startsWith("app")));
  const fused = (name) => gunzipSync(readFileSync(join(app, `${name}_bg.wasm.gz`))).toString("latin1").split("\xfd\x85\x02").length - 1;
  // Other bytes may look alike by chance, but hardly so often.
  const [without, relaxed] = [fused("eloc"), fused("eloc_relaxed")];
  assert.ok(without < 5 && relaxed > without + 5, `${without} and ${relaxed}`);
});

/** The modules need nothing else, so that they can be tried without a browser. */
const source = (path) => import(`data:text/javascript,${encodeURIComponent(readFileSync(join(ROOT, "web/engine", path), "utf8"))}`);
const { workersAllowed, workersWorth } = await source("helpers.js");
const { nextRun } = await source("schedule.js");

test("workers are as many as cores, memory and work allow, and eight at most", () => {
  const MIB = 2 ** 20, allowed = (bytes, cores, memory) => workersAllowed(bytes, { hardwareConcurrency: cores, deviceMemory: memory });
  assert.equal(allowed(40 * MIB, 4, 8), 4);
  assert.equal(allowed(40 * MIB, 64, 8), 8);
  assert.equal(allowed(300 * MIB, 8, 8), 6);
  assert.equal(allowed(300 * MIB, 8, undefined), 3);
  assert.equal(allowed(1500 * MIB, 8, 4), 1);
  assert.equal(allowed(40 * MIB, undefined, 8), 1);
  assert.deepEqual([0, 15, 32, 1000].map(workersWorth), [1, 1, 2, 62]);
});

test("what a worker has in hand is nobody else's, and folds come in their order", () => {
  const set = { count: 20, done: new Uint8Array(20), taken: new Uint8Array(20) };
  const inHand = [], seen = [0, 0];
  while (set.done.some((done) => done < 2)) {
    const run = inHand.length < 3 && nextRun([set], { loaded: 2, complete: true }, 8, 3);
    if (run) {
      const end = run.start + run.count;
      assert.ok(set.taken.subarray(run.start, end).every((taken) => !taken));
      assert.ok(set.done.subarray(run.start, end).every((done) => done === run.position));
      set.taken.fill(1, run.start, end);
      seen[run.position] += run.count;
      inHand.push(run);
    } else {
      // The last one that began is the first to end.
      const { start, count, position } = inHand.pop();
      set.done.fill(position + 1, start, start + count);
      set.taken.fill(0, start, start + count);
    }
  }
  assert.deepEqual(seen, [20, 20]);
});
