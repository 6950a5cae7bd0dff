// The built page in a real browser, held against the command line.
import assert from "node:assert/strict";
import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { WEIGHTS, bitmap, cliCompare, cliScores, dataset, notices, open, picture, scores, scratch, serve, tarGz, until,
  write } from "./site.mjs";

const CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
/** Sums in another order change a score by such a part of the range, and now and then make one of an image jump. */
const MANIFEST = JSON.parse(readFileSync(join(WEIGHTS, "manifest.json")));
const RANGE = Math.max(...MANIFEST.self_test) - Math.min(...MANIFEST.self_test), TOLERANCE = 6e-5 * RANGE, JUMP = 2e-3 * RANGE;

/** Another perturbation than that of the shipped weights. */
const STEP = "0.002";

let site;
before(async () => { site = await serve(); });
after(() => site.stop());

/** Opens the page, runs `steps` and closes the browser whatever happens. */
const visit = (path, options, steps) => async () => {
  const visit = await open(site.origin + path, options);
  try {
    await steps(visit);
    assert.deepEqual(visit.errors, []);
  } finally {
    await visit.browser.close();
  }
};

const pictures = (folder, count, from = 0) =>
  Array.from({ length: count }, (_, index) => picture(join(folder, `${index}.bmp`), from + index));

function assertClose(found, expected) {
  assert.equal(found.length, expected.length);
  const differences = found.map((score, index) => Math.abs(score - expected[index])).sort((a, b) => a - b);
  assert.ok(differences.at(-1) < JUMP && differences.filter((difference) => difference >= TOLERANCE).length <= 1, `${found} ${expected}`);
}

test("WebGPU: dropped files get the command line's scores, also after the device was lost",
  visit(`/?backend=webgpu#epsilon=${STEP}`, { gpu: true }, async ({ page, requests }) => {
    await until(page, ["ready"]);
    assert.equal((await dataset(page)).backend, "webgpu");
    const folder = scratch();
    const sound = pictures(folder, 4);
    write(join(folder, "broken.png"), "no image");
    await page.waitForFunction(() => document.documentElement.dataset.folds === "5");
    await page.setInputFiles("#files", [...sound, join(folder, "broken.png")]);
    // One network has seen the images, so the next is at work.
    await page.waitForSelector('#gallery .card[data-folds="1"]');
    await page.evaluate(() => window.eloc.debug.loseDevice());
    await page.waitForFunction(() => document.querySelectorAll(".notice").length > 0);
    await until(page, ["idle"]);
    assert.match((await notices(page)).join(), /A new one goes on where it stopped/);
    assert.deepEqual([(await dataset(page)).backend, (await dataset(page)).folds], ["webgpu", "5"], (await notices(page)).join());
    assertClose(await scores(page), cliScores(sound, "--epsilon", STEP));

    const problems = await page.locator("#problems-list tr").allTextContents();
    assert.equal(problems.length, 1);
    assert.match(problems[0], /broken\.png.*expected a sound PNG/);

    // No request leaves the origin, and the worker cannot make one.
    assert.match(await page.evaluate(() => window.eloc.debug.fetch("https://example.com/")), /^refused/);
    for (const address of requests) assert.ok(/^(blob:|data:)/.test(address) || address.startsWith(site.origin), address);
  }));

test("CPU: the evaluator's table is the command line's, which does its exported results again",
  visit("/?backend=cpu#tab=evaluate", {}, async ({ page }) => {
    await until(page, ["ready"]);
    const folder = scratch();
    for (const [seed, name] of CLASSES.entries()) {
      for (const part of ["train", "test"]) picture(join(folder, "id", part, name, "0.bmp"), seed);
    }
    pictures(join(folder, "ood"), 6, 100);
    const archive = tarGz(join(folder, "ood"));
    // Both take images of a folder from all over.
    await page.fill("#eval-limit", "5");
    await page.setInputFiles("#id-folder", join(folder, "id/test"));
    await page.setInputFiles("#ood-files", archive);
    await page.fill("#generate-count", "12");
    await page.click("[data-generate=uniform]");
    await page.waitForFunction(() => document.querySelectorAll("#ood-sets li").length === 2);
    await until(page, ["idle"]);
    await page.waitForFunction(() => document.querySelector("#study").dataset.final === "true");
    await page.locator("#export-json:enabled").waitFor();

    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#export-json")]);
    const results = join(folder, "page.json"), now = join(folder, "now.json");
    await download.saveAs(results);
    const table = cliCompare(results, join(folder, "id"), [archive, "uniform:12"], now);
    const [exported, report] = [JSON.parse(readFileSync(results)).report, JSON.parse(readFileSync(now))];
    assert.deepEqual([exported.id, ...exported.ood].map((set) => set.images), [5, 5, 12]);
    assert.equal(exported.id.accuracy, report.id.accuracy);
    for (const [index, set] of report.ood.entries()) {
      // The ends of histograms are scores, which differ in their last digits.
      const metrics = ({ scores }) => scores.map(({ curves, ...others }) => ({ ...others, bins: curves.id.length }));
      assert.deepEqual(metrics(exported.ood[index]), metrics(set), set.name);
    }
    assert.equal(table.match(/scores of (\d+) of \1 images compared/g).length, 3, table);

    const shown = await page.locator("#metric-table [data-metric=auroc]").first().getAttribute("data-value");
    const choice = await page.locator("#eval-ood-choice").evaluate((select) => select.selectedIndex);
    assert.equal(Number(shown), report.ood[choice].scores[0].auroc);
    for (const plot of ["histogram", "roc", "pr"]) assert.ok(await page.locator(`#plot-${plot} svg path`).count() > 0, plot);

    // Another score of the same images is compared with this one, on each set.
    const value = async (place) => Number(await page.locator(place).getAttribute("data-value"));
    await page.selectOption("#eval-baseline", "energy");
    for (const index of [1 - choice, choice]) {
      await page.selectOption("#eval-ood-choice", { index });
      const [eloc, energy] = ["eloc", "energy"].map((id) => report.ood[index].scores.find(({ score }) => score === id).auroc);
      await page.waitForFunction((difference) =>
        Math.abs(Number(document.querySelector("#comparison [data-metric=auroc]")?.dataset.value ?? NaN) - difference) < 1e-12, eloc - energy);
      await page.locator("#comparison-words", { hasText: eloc === energy ? /lies above as many|equally good/ : /ELOC is (better|worse) than energy/ }).waitFor();
    }
    // Sets are in no group before the visitor puts them into one.
    assert.equal(await page.locator("#eval-summary [data-group]").count(), 0);
    for (const select of await page.locator("#eval-summary select").all()) await select.selectOption("near");
    const mean = report.ood.reduce((sum, { scores }) => sum + scores[0].auroc, 0) / report.ood.length;
    assert.ok(Math.abs(await value("#eval-summary [data-group=near] [data-metric=auroc]") - mean) < 1e-12);

    // An archive may hold known images class by class, of which a limit leaves only the first ones.
    await page.fill("#eval-limit", "7");
    await page.setInputFiles("#id-files", archive);
    await page.locator(".notice", { hasText: 'The first 7 images of "ood.tar.gz" were taken, as asked.' }).waitFor();

    // What cannot be read is said on this tab, too, and leaves the choice as it is.
    write(join(folder, "notes.txt"), "no image");
    await page.setInputFiles("#ood-files", join(folder, "notes.txt"));
    await page.locator("#problems").waitFor();
    await page.waitForFunction(() => document.querySelectorAll("#ood-sets li").length === 2);
    assert.equal(await page.locator("#eval-ood-choice").evaluate((select) => select.selectedIndex), choice);

    // The mistakes are those of the threshold: at the least score nothing is rejected.
    await page.fill("#threshold", "0");
    assert.equal(await page.locator("#worst-ood .card").count(), report.ood[choice].images);
    assert.ok(await page.locator("#worst-id-none").isVisible());
    await page.fill("#threshold", "1000");
    assert.ok(await page.locator("#worst-id .card").count() > 0);

    // A threshold that was moved is not one of the scores at another temperature.
    await page.click("#threshold-calibrated");
    assert.equal(await page.locator("#threshold-reset").isDisabled(), false);
    await page.evaluate(() => { location.hash = "#tab=evaluate&temperature=100"; });
    await page.waitForFunction(() => document.querySelector("#threshold-reset").disabled);

    // Of a folder with a sub-folder for each kind, a limit leaves some of each.
    for (const kind of ["brick", "sand"]) pictures(join(folder, "kinds", kind), 4);
    await page.fill("#eval-limit", "4");
    await page.setInputFiles("#ood-folder", join(folder, "kinds"));
    await page.waitForFunction(() => document.querySelector("#ood-sets li:last-child").dataset.count === "4");
    await until(page, ["idle"]);
    const [csv] = await Promise.all([page.waitForEvent("download"), page.click("#export-eval-csv")]);
    const rows = readFileSync(await csv.path(), "utf8");
    for (const kind of ["brick", "sand"]) assert.equal(rows.match(new RegExp(`kinds/${kind}/`, "g"))?.length, 2, rows);
  }));

test("CPU: of the pictures to try, the networks know the drawn things and not the rest",
  visit("/?backend=cpu", {}, async ({ page }) => {
    await until(page, ["ready"]);
    await page.click("#try");
    await until(page, ["idle"]);
    await page.setViewportSize({ width: 1400, height: 3000 });
    await page.waitForFunction(() => document.querySelectorAll("#gallery .card").length === Number(document.querySelector("#gallery-summary").dataset.total));
    const cards = await page.locator("#gallery .card").evaluateAll((all) => all.map((card) =>
      ({ drawn: /drawing of/.test(card.textContent), verdict: card.dataset.verdict, score: card.querySelector(".card-score").textContent })));
    const known = (drawn) => cards.filter((card) => card.drawn === drawn && card.verdict === "known").length;
    assert.equal(known(true), 12, JSON.stringify(cards));
    assert.ok(known(false) <= 5, JSON.stringify(cards));
    for (const { score } of cards) assert.match(score, /^-?[\d.]+, known from 1$/);
    await page.click("#gallery-words summary");
    assert.match(await page.locator("#gallery-words").textContent(), /1 is the threshold.*A high percentage does\s+not mean a known image/s);
  }));

test("CPU: cancelling stops the work within a second, and it can be gone on with",
  visit("/?backend=cpu#tab=evaluate", {}, async ({ page }) => {
    await until(page, ["ready"]);
    await page.fill("#generate-count", "2000");
    await page.click("[data-generate=gaussian]");
    await until(page, ["scoring"]);
    const took = await page.evaluate(async () => {
      const start = performance.now();
      document.querySelector("#cancel").click();
      while (document.documentElement.dataset.state === "scoring") await new Promise((done) => setTimeout(done, 10));
      return performance.now() - start;
    });
    assert.ok(took < 1000, `${took} ms`);
    await page.click("#resume");
    await until(page, ["scoring"]);
    await page.click("#cancel");
    await until(page, ["idle"]);
  }));

test("CPU: reading that was cancelled is gone on with, and lost and doubles nothing",
  visit("/?backend=cpu#tab=evaluate", {}, async ({ page }) => {
    await until(page, ["ready"]);
    const folder = scratch(), count = 1000;
    pictures(join(folder, "many"), count);
    write(join(folder, "many/000.png"), "no image");
    await page.evaluate(() => new MutationObserver((_, observer) => {
      if (!document.querySelector("#ood-sets li:not([data-count='0'])")) return;
      observer.disconnect();
      document.querySelector("#cancel").focus();
      document.querySelector("#cancel").click();
    }).observe(document.querySelector("#ood-sets"), { subtree: true, attributes: true, childList: true }));
    await page.setInputFiles("#ood-files", tarGz(join(folder, "many")));
    await page.waitForFunction(() => document.activeElement.id === "resume");
    const row = page.locator("#ood-sets li");
    assert.match(await row.textContent(), /the rest is not read yet/);
    assert.ok(Number(await row.getAttribute("data-count")) < count);
    await page.click("#resume");
    await page.waitForFunction((count) => document.querySelector("#ood-sets li").dataset.count === String(count), count);
    await page.click("#cancel");
    assert.doesNotMatch(await row.textContent(), /not read/);
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#export-eval-csv")]);
    const names = readFileSync(await download.path(), "utf8").trim().split("\n").slice(1).map((line) => line.split(",")[1]);
    assert.deepEqual([names.length, new Set(names).size], [count, count]);
    assert.equal(await page.locator("#problems").getAttribute("data-count"), "1");
    await page.click("#ood-sets button");
    assert.equal(await page.evaluate(() => document.activeElement.dataset.pick), "ood-files");
  }));

test("what cannot be used is said, with what was expected and found",
  visit("/?backend=cpu", {}, async ({ page }) => {
    await until(page, ["ready"]);
    const folder = scratch();
    write(join(folder, "nothing/.DS_Store"), "");
    await page.setInputFiles("#files", tarGz(join(folder, "nothing")));
    await page.locator("#problems").waitFor();
    assert.match(await page.locator("#problems-list").textContent(), /nothing\.tar\.gz.*expected images or weights, found none/);
    await page.click("#settings summary");
    await page.fill("#epsilon", "0.02");
    await page.press("#epsilon", "Enter");
    assert.match((await notices(page)).join(), /Epsilon: expected a multiple of 0\.0001 from 0 to 0\.01, found 0\.02/);
    assert.equal(await page.inputValue("#epsilon"), String(MANIFEST.odin.epsilon));

    // The window takes drops below the page's end, too.
    const dropped = await page.evaluateHandle(() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(["no image"], "below.png"));
      return transfer;
    });
    await page.dispatchEvent("html", "drop", { dataTransfer: dropped });
    await page.waitForFunction(() => document.querySelector("#problems").dataset.count === "2");
    // Beside the evaluator's sides they are on neither.
    await page.click("#tab-evaluate");
    await page.dispatchEvent("html", "drop", { dataTransfer: dropped });
    await page.locator(".notice", { hasText: "one of the two sides" }).waitFor();

    // Networks that could not be fetched are tried again.
    const other = await page.locator("#weights option").nth(1).getAttribute("value");
    await page.route(`**/weights/${other}/manifest.json`, (route) => route.abort());
    await page.selectOption("#weights", other);
    await page.locator("#retry").waitFor();
    assert.match((await notices(page)).join(), /manifest\.json could not be loaded/);
    await page.unroute(`**/weights/${other}/manifest.json`);
    await page.click("#retry");
    await page.waitForFunction((name) => document.documentElement.dataset.weights === name, other);
    await page.waitForFunction(() => document.documentElement.dataset.folds === "5");
    assert.doesNotMatch((await notices(page)).join(), /could not be loaded/);
  }));

test("CPU: the self-test passes, and is shown as the command line's scores",
  visit("/?backend=cpu#tab=device", {}, async ({ page }) => {
    await until(page, ["ready"]);
    await page.click("#self-test");
    await page.locator("#self-test-result[data-result=pass]").waitFor({ timeout: 300_000 });
    assert.ok(Number(await page.locator("#self-test-result").getAttribute("data-largest")) < TOLERANCE);
  }));

test("without WebGPU the page says so within three seconds and scores on the CPU",
  visit(`/#epsilon=${STEP}`, {}, async ({ page }) => {
    await page.waitForFunction(() => document.querySelectorAll(".notice").length > 0, null, { timeout: 6_000 });
    assert.match((await notices(page)).join(), /CPU/);
    const sound = pictures(scratch(), 3);
    await page.setInputFiles("#files", sound);
    await until(page, ["idle"]);
    assert.equal((await dataset(page)).backend, "cpu");
    assertClose(await scores(page), cliScores(sound, "--epsilon", STEP));
  }));

for (const [what, requestAdapter] of [
  ["gives no adapter", "async () => null"],
  ["throws", "async () => { throw new Error('out of order'); }"],
  ["never answers", "() => new Promise(() => {})"],
]) {
  test(`WebGPU that ${what}: the page says so within three seconds and the CPU takes over`,
    visit("/", { gpu: true, prelude: `navigator.gpu.requestAdapter = ${requestAdapter};` }, async ({ page }) => {
      // Half of the time allowed here is for the page itself to load.
      await page.waitForFunction(() => document.querySelectorAll(".notice").length > 0, null, { timeout: 6_000 });
      await until(page, ["ready"]);
      assert.equal((await dataset(page)).backend, "cpu");
      assert.match((await notices(page)).join(), /Images are scored on the CPU instead/);
    }));
}

const WITHOUT_TIMESTAMPS = `
  const features = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, "features").get;
  Object.defineProperty(GPUAdapter.prototype, "features", { configurable: true, get() {
    return new Set([...features.call(this)].filter((name) => name !== "timestamp-query"));
  } });
  const requestDevice = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = function (descriptor) {
    if ([...(descriptor?.requiredFeatures ?? [])].includes("timestamp-query")) throw new TypeError("no such feature");
    return requestDevice.call(this, descriptor);
  };`;

test("WebGPU without timestamp-query works",
  visit(`/?backend=webgpu#epsilon=${STEP}`, { gpu: true, prelude: WITHOUT_TIMESTAMPS }, async ({ page }) => {
    await until(page, ["ready"]);
    const sound = pictures(scratch(), 1);
    await page.setInputFiles("#files", sound);
    await until(page, ["idle"]);
    assert.equal((await dataset(page)).backend, "webgpu");
    assertClose(await scores(page), cliScores(sound, "--epsilon", STEP));
  }));

test("bombs are listed with their reason and the rest is scored",
  visit("/?backend=cpu", {}, async ({ page }) => {
    await until(page, ["ready"]);
    const folder = scratch();
    write(join(folder, "zeros/zeros.png"), Buffer.alloc(64 << 20));
    write(join(folder, "huge.bmp"), bitmap(60_000, 60_000, Buffer.alloc(64)));
    const sound = pictures(join(folder, "sound"), 2);
    await page.setInputFiles("#files", [tarGz(join(folder, "zeros")), join(folder, "huge.bmp"), ...sound]);
    await page.waitForFunction(() => document.querySelectorAll("#problems-list tr").length === 2, null, { timeout: 60_000 });
    const problems = (await page.locator("#problems-list tr").allTextContents()).join("\n");
    assert.match(problems, /zeros\.tar\.gz.*bytes for an archive of its size/);
    assert.match(problems, /huge\.bmp/);
    await until(page, ["idle"]);
    assertClose(await scores(page), cliScores(sound));
  }));

test("WebGPU in software: the faster CPU backend is taken",
  visit("/", { gpu: true }, async ({ page }) => {
    await until(page, ["ready"]);
    assert.equal((await dataset(page)).backend, "cpu");
    assert.match((await notices(page)).join(), /no graphics card/);
  }));

test("dropped weights score instead of the shipped ones, damaged and unfinished ones do not",
  visit("/?backend=cpu", {}, async ({ page }) => {
    await until(page, ["ready"]);
    const folder = scratch();
    cpSync(WEIGHTS, join(folder, "mine"), { recursive: true });
    for (const log of ["fold-1.jsonl", "fold-1.txt"]) write(join(folder, "mine/logs", log), "{}");
    await page.setInputFiles("#files", tarGz(join(folder, "mine")));
    await page.waitForFunction(() => /mine/.test(document.documentElement.dataset.weights));
    await page.waitForFunction(() => document.documentElement.dataset.folds === "5");
    assert.equal(await page.locator("#problems").getAttribute("data-count"), "0");
    const sound = pictures(join(folder, "images"), 2);
    await page.setInputFiles("#files", sound);
    await until(page, ["idle"]);
    assertClose(await scores(page), cliScores(sound));

    cpSync(WEIGHTS, join(folder, "damaged"), { recursive: true });
    const [fold] = MANIFEST.folds;
    const bytes = readFileSync(join(WEIGHTS, fold.file));
    bytes[bytes.length >> 1] ^= 1;
    write(join(folder, "damaged", fold.file), bytes);
    await page.setInputFiles("#files", tarGz(join(folder, "damaged")));
    await page.locator(".notice[data-kind=error]").waitFor();
    assert.match((await notices(page)).join(), /cannot be used/);

    const unfinished = { ...MANIFEST, folds: MANIFEST.folds.slice(0, 2) };
    write(join(folder, "unfinished/manifest.json"), JSON.stringify(unfinished));
    await page.setInputFiles("#files", tarGz(join(folder, "unfinished")));
    await page.locator("#problems-list", { hasText: "Only 2 of their 5 folds are trained" }).waitFor({ state: "attached" });
  }));

test("what was asked before Clear does not reach the images after it",
  visit("/?backend=cpu", {}, async ({ page }) => {
    await until(page, ["ready"]);
    const folder = scratch();
    await page.setInputFiles("#files", pictures(join(folder, "before"), 40, 50));
    await until(page, ["scoring"]);
    // The page may be drawn again before the gallery has forgotten its order.
    await page.evaluate(() => {
      document.querySelector("#clear").click();
      for (const event of ["scroll", "resize"]) window.dispatchEvent(new Event(event));
    });
    const sound = pictures(join(folder, "after"), 2);
    await page.setInputFiles("#files", sound);
    await page.waitForFunction(() => document.querySelectorAll("#gallery .card").length === 2);
    await until(page, ["idle"]);
    assertClose(await scores(page), cliScores(sound));
  }));
