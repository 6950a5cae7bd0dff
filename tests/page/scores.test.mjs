// The evaluator on files of scores that any classifier wrote, held against the command line, and its walk through stored results.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { after, before, test } from "node:test";

import { ROOT, cli, launch, scratch, serve, until, write } from "./site.mjs";

const GOLDEN = join(ROOT, "tests/golden/files");
const golden = (name) => join(GOLDEN, name);

let site, browser;
before(async () => {
  site = await serve();
  browser = await launch();
});
after(async () => {
  await browser.close();
  site.stop();
});

/** Opens the evaluator and runs `steps` with it; `change` may put other results in the place of the stored ones. */
const visit = (steps, change = null) => async () => {
  const context = await browser.newContext();
  const page = await context.newPage(), errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  if (change) {
    await page.route("**/results.json", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: change(await response.json()) });
    });
  }
  try {
    await page.goto(`${site.origin}/?backend=cpu#tab=evaluate`);
    await until(page, ["ready"]);
    await steps(page);
    assert.deepEqual(errors, []);
  } finally {
    await context.close();
  }
};

/** Scores with ties, more on one side than on the other. */
const ID = Array.from({ length: 60 }, (_, i) => Math.round(40 * Math.sin(i * 1.7)) / 16 + 2);
const OOD = Array.from({ length: 35 }, (_, i) => Math.round(40 * Math.cos(i * 2.3)) / 16 + 0.5);

const text = (values) => `${values.join("\n")}\n`;
const csv = (values) => `image,score,index\n${values.map((value, i) => `"a, ${i}",${value},${i}`).join("\n")}\n`;

/** An .npy of doubles. */
function npy(values) {
  const header = Buffer.from(`{'descr': '<f8', 'fortran_order': False, 'shape': (${values.length},), }\n`);
  const length = Buffer.alloc(2);
  length.writeUInt16LE(header.length);
  return Buffer.concat([Buffer.from("\x93NUMPY\x01\x00", "latin1"), length, header, Buffer.from(Float64Array.from(values).buffer)]);
}

/** An .npz of one array, or of more; packed by the system's own tool. */
function npz(path, arrays) {
  const folder = scratch();
  for (const [name, values] of Object.entries(arrays)) write(join(folder, `${name}.npy`), npy(values));
  const script = "import sys, zipfile, pathlib\n" +
    "with zipfile.ZipFile(sys.argv[1], 'w') as z:\n  for p in sorted(pathlib.Path(sys.argv[2]).iterdir()): z.write(p, p.name)";
  execFileSync("python3", ["-c", script, path, folder]);
  return path;
}

/** Writes the same scores in every format as files of `name`; returns their paths by format. */
function inEveryFormat(folder, name, values) {
  const paths = Object.fromEntries(["txt", "csv", "npy", "npz"].map((format) => [format, join(folder, `${name}.${format}`)]));
  write(paths.txt, text(values));
  write(paths.csv, csv(values));
  write(paths.npy, npy(values));
  npz(paths.npz, { score: values, other: values.map((value) => -value) });
  return paths;
}

async function put(page, id, ood) {
  if (id.length) await page.setInputFiles("#id-files", id);
  if (ood.length) await page.setInputFiles("#ood-files", ood);
}

/** The metric table, once its intervals are there: values by score. */
async function shown(page, kind = "scores") {
  await page.locator(`#study[data-kind=${kind}][data-final=true]`).waitFor();
  return page.locator("#metric-table tbody tr").evaluateAll((rows) => rows.map((row) => [row.querySelector("[data-score]").dataset.score,
    ...[...row.querySelectorAll("[data-metric]")].map(({ dataset }) => Number(dataset.value))]));
}

/** The same of the command line. */
function measured(...args) {
  const { sets: [{ scores }] } = JSON.parse(cli("metrics", "--resamples", "0", "--format", "json", ...args));
  return scores.map(({ score, fpr_at_95_tpr, detection_error, auroc, aupr_in, aupr_out }) =>
    [score, fpr_at_95_tpr, detection_error, auroc, aupr_in, aupr_out]);
}

async function downloaded(page, button) {
  const [file] = await Promise.all([page.waitForEvent("download"), page.click(button)]);
  return readFileSync(await file.path(), "utf8");
}

/** Waits for the sentence about what is wrong. */
const complaint = (page, words) => page.locator("#metrics-problem", { hasText: words }).waitFor();

test("scores in every format, on either side, get the command line's table", visit(async (page) => {
  const folder = scratch();
  const id = inEveryFormat(folder, "known", ID), ood = inEveryFormat(folder, "other", OOD);
  const expected = measured("--id", id.txt, "--ood", ood.txt);
  for (const [one, other] of [["txt", "txt"], ["csv", "csv"], ["npy", "npy"], ["npz", "npz"], ["csv", "txt"], ["npy", "npz"], ["npz", "csv"]]) {
    await page.click("#eval-clear:enabled", { timeout: 1000 }).catch(() => {});
    await put(page, [id[one]], [ood[other]]);
    await page.locator("#id-scores li", { hasText: `known.${one}` }).waitFor();
    await page.locator("#ood-scores li", { hasText: `other.${other}` }).waitFor();
    // The column that is likely to hold scores is chosen where one has to be.
    assert.deepEqual((await shown(page)).map(([, ...values]) => values), expected.map(([, ...values]) => values), `${one} ${other}`);
    // There is a choice where the files share more than one name: those of .csv and .npz here have `score` in common.
    const named = new Set([one, other].filter((format) => ["csv", "npz"].includes(format)));
    assert.equal(await page.locator("#score-column-label").isVisible(), named.size === 1, `${one} ${other}`);
  }
  // Another column of both.
  await page.click("#eval-clear");
  await put(page, [id.csv], [ood.csv]);
  await shown(page);
  await page.selectOption("#score-column", "index");
  await page.waitForFunction(() => document.querySelector("#study-size").textContent !== "");
  const byIndex = measured("--id", id.csv, "--ood", ood.csv, "--column", "index");
  await page.waitForFunction((auroc) => Number(document.querySelector("#metric-table [data-metric=auroc]")?.dataset.value) === auroc, byIndex[0][3]);
  assert.deepEqual(await shown(page), byIndex);
  for (const plot of ["histogram", "roc", "pr"]) assert.ok(await page.locator(`#plot-${plot} svg path`).count() > 0, plot);

  // The threshold is one of these scores: from the least one on, all of the known are accepted.
  await page.fill("#threshold", "0");
  assert.equal(await page.locator("#threshold-tpr").getAttribute("data-value"), "1");
  // Each definition is said in words, and gives its own table.
  await page.click("#settings summary");
  for (const [definition, words] of [["openood", /share of in-distribution images rejected/], ["reference", /published code's/], ["standard", /scikit-learn/]]) {
    await page.selectOption("#definition", definition);
    await page.locator("#definition-words", { hasText: words }).waitFor();
    assert.deepEqual(await shown(page), measured("--id", id.csv, "--ood", ood.csv, "--column", "index", "--definition", definition), definition);
  }
}));

test("logits of several networks are one ensemble, and one file of OpenOOD's is both sides", visit(async (page) => {
  const [id, ood] = ["id", "ood"].map((side) => [1, 2].map((n) => golden(`${side}-${n}.npy`)));
  await put(page, id, ood);
  await page.locator("#ood-scores li").nth(1).waitFor();
  const close = (found, expected) => {
    assert.deepEqual(found.map(([name]) => name), expected.map(([name]) => name));
    found.forEach(([name, ...values], i) => values.forEach((value, j) => assert.ok(Math.abs(value - expected[i][j + 1]) < 1e-9, `${name} ${value}`)));
  };
  close(await shown(page), measured("--id", ...id, "--ood", ...ood));
  // Another one joins the ensemble on its side only, which cannot be.
  await page.setInputFiles("#ood-files", golden("ood-1.npy"));
  await complaint(page, /id-1\.npy: expected logits of the same networks on both sides, found 2 and 3 files/);
  await page.locator("#ood-scores button").last().click();
  close(await shown(page), measured("--id", ...id, "--ood", ...ood));

  for (const side of ["id", "ood"]) {
    await page.click("#eval-clear");
    await page.setInputFiles(`#${side}-files`, golden("openood.npz"));
    assert.deepEqual(await shown(page), measured("--id", golden("openood.npz")));
    assert.match(await page.locator("#study-size").textContent(), /label 0 or more \(3 images\).*label -1 \(2 images\)/);
  }
  await page.selectOption("#score-column", "pred");
  await complaint(page, /expected OpenOOD's `conf` and `label`, or a file for each side/);
}));

test("scores of which lower ones mean known are found out, and switched", visit(async (page) => {
  const folder = scratch(), [id, ood] = [join(folder, "id.txt"), join(folder, "ood.txt")];
  write(id, text(ID.map((value) => -value)));
  write(ood, text(OOD.map((value) => -value)));
  await put(page, [id], [ood]);
  assert.deepEqual(await shown(page), measured("--id", id, "--ood", ood));
  assert.match(await page.locator("#below-words").textContent(), /AUROC below 50 .*lower scores are the ones that mean known/);
  await page.click("#switch-known");
  await page.locator("#below-chance").waitFor({ state: "hidden" });
  assert.deepEqual(await shown(page), measured("--id", id, "--ood", ood, "--known", "lower"));
  assert.equal(await page.inputValue("#score-known"), "lower");
  assert.match(await page.locator("#plot-histogram").textContent(), /negated/);
  await page.selectOption("#score-known", "higher");
  await page.locator("#below-chance").waitFor();
}));

test("what cannot be measured is said with the file and the place in it", visit(async (page) => {
  const folder = scratch(), at = (name, contents) => {
    write(join(folder, name), contents);
    return join(folder, name);
  };
  const listed = (words) => page.locator("#problems-list tr", { hasText: words }).waitFor({ state: "attached" });
  await put(page, [
    at("scores.pkl", Buffer.from([0x80, 4, 0x95])), at("nan.txt", "1\nnan\n"), at("none.txt", "\n"), at("text.csv", "score\n1\nhigh\n"),
    golden("objects.npy"), at("cut.npy", npy(ID).subarray(0, 200)),
  ], []);
  for (const words of [
    /scores\.pkl.*a pickle, which can run code/, /nan\.txt, line 2: expected a finite number, found nan/, /none\.txt: expected at least 1 score/,
    /text\.csv, line 3, column `score`: expected a finite number, found high/, /objects\.npy.*Python objects, as a pickle/, /cut\.npy: expected an array/,
  ]) await listed(words);
  assert.equal(await page.locator("#id-scores li").count(), 0);
  assert.ok(await page.locator("#show-measured").isChecked());

  const known = at("known.txt", text(ID)), other = at("other.txt", text(OOD));
  await put(page, [known], []);
  await page.locator("#study-empty", { hasText: "out-of-distribution side" }).waitFor();
  await put(page, [], [golden("ood-1.npy")]);
  await complaint(page, /ood-1\.npy: expected scores, as in the other side's file, found logits/);
  await put(page, [], [known, other]);
  await complaint(page, /other\.txt: expected one file of scores a side/);
  await put(page, [], [at("a.csv", "x,y\n1,2\n")]);
  await put(page, [at("b.csv", "z,v\n1,2\n")], []);
  await complaint(page, /b\.csv: expected a column that the other files have, too, found `z`, `v`/);
  await page.click("#eval-clear");
  await put(page, [at("c.csv", "score,v\n1,2\ninf,3\n")], [other]);
  await complaint(page, /c\.csv, line 3, column `score`: expected a finite number, found inf/);
  assert.ok(await page.locator("#study").isHidden());
}));

test("exported scores run again on the command line, and tables are the command line's", visit(async (page) => {
  const folder = scratch();
  const id = inEveryFormat(folder, "its known", ID), ood = inEveryFormat(folder, "other", OOD);
  await put(page, [id.csv], [ood.txt]);
  await shown(page);
  await page.selectOption("#score-known", "lower");
  await page.locator("#below-chance").waitFor();
  await shown(page);
  await page.locator("#export-json:enabled").waitFor();
  const { command, ...printed } = JSON.parse(await downloaded(page, "#export-json"));
  const path = [dirname(process.env.ELOC), process.env.PATH].join(delimiter);
  const again = execFileSync("sh", ["-c", command], { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], env: { ...process.env, PATH: path } });
  assert.deepEqual(JSON.parse(again), printed);
  assert.equal(printed.sets[0].scores[0].intervals.resamples, 1000);
  for (const form of ["csv", "markdown", "latex"]) {
    await page.selectOption("#export-form", form);
    const expected = cli("metrics", "--id", id.csv, "--ood", ood.txt, "--column", "score", "--known", "lower", "--format", form);
    assert.equal(await downloaded(page, "#export-table"), expected, form);
  }
}));

/** What stands in the comparison's row, once it is there: differences with their ends, and DeLong's p. */
async function compared(page, baseline) {
  await page.locator("#comparison th", { hasText: `minus ${baseline}` }).waitFor();
  await shown(page);
  const differences = await page.locator("#comparison [data-metric]").evaluateAll((cells) => cells.map(({ dataset, textContent }) =>
    [dataset.metric, Number(dataset.value), textContent]));
  return { differences, p: Number(await page.locator("#comparison-p").getAttribute("data-value")) };
}

/** Holds it against the command line's comparison `score`. */
function assertCompared({ differences, p }, score, ...args) {
  const { sets: [set] } = JSON.parse(cli("metrics", "--format", "json", ...args));
  const expected = set.differences.find((row) => row.score === score);
  const points = (fraction) => `${fraction > 0 ? "+" : ""}${(100 * fraction).toFixed(2)}`;
  assert.equal(differences.length, 5);
  for (const [metric, value, text] of differences) {
    const { value: theirs, low, high } = expected[metric];
    assert.ok(Math.abs(value - theirs) < 1e-12, `${metric}: ${value} is not ${theirs}`);
    assert.equal(text, `${points(theirs)} ${points(low)} to ${points(high)}`);
  }
  assert.ok(Math.abs(p - expected.delong.p) < 1e-12, `${p} is not ${expected.delong.p}`);
}

test("two columns of the same files, and two scores of the same logits, are compared as by the command line", visit(async (page) => {
  const folder = scratch(), at = (name, contents) => {
    write(join(folder, name), contents);
    return join(folder, name);
  };
  const good = (values) => values.map((value, i) => value + Math.sin(i) / 4), poor = (values) => values.map((value, i) => value + 9 * Math.cos(5 * i));
  const [id, ood] = [["id", ID], ["ood", OOD]].map(([name, values]) => ({
    good: at(`${name}-good.txt`, text(good(values))), poor: at(`${name}-poor.txt`, text(poor(values))),
    both: at(`${name}.csv`, `score,poor,image\n${values.map((_, i) => `${good(values)[i]},${poor(values)[i]},a`).join("\n")}\n`),
  }));
  await put(page, [id.both], [ood.both]);
  await shown(page);
  assert.equal(await page.locator("#comparison-words").textContent(), "");
  assert.deepEqual(await page.locator("#eval-baseline option").allTextContents(), ["no other score", "poor", "image"]);
  await page.selectOption("#eval-baseline", "poor");
  assertCompared(await compared(page, "poor"), "scores", "--id", id.good, "--ood", ood.good, "--baseline-id", id.poor, "--baseline-ood", ood.poor);
  assert.match(await page.locator("#comparison-words").textContent(), /By AUROC, score is better than poor .* chance would hardly .*\(p /);
  await page.selectOption("#eval-baseline", "image");
  await page.locator("#comparison-words", { hasText: "cannot be compared. id.csv, line 2, column `image`: expected a finite number, found a" }).waitFor();
  assert.equal(await page.locator("#comparison table").count(), 0);
  await page.selectOption("#eval-baseline", "");
  await page.locator("#comparison-words").waitFor({ state: "hidden" });

  await page.click("#eval-clear");
  await put(page, [golden("id-1.npy")], [golden("ood-1.npy")]);
  await shown(page);
  await page.selectOption("#eval-score", "energy");
  await page.selectOption("#eval-baseline", "entropy");
  const files = ["--id", golden("id-1.npy"), "--ood", golden("ood-1.npy"), "--baseline", "entropy"];
  assertCompared(await compared(page, "entropy"), "energy", ...files);
  assert.match(await page.locator("#comparison-words").textContent(), /these images do not tell which is better/);
  await page.click("#settings summary");
  await page.selectOption("#definition", "openood");
  await page.locator("#definition-words", { hasText: /share of in-distribution images rejected/ }).waitFor();
  assertCompared(await compared(page, "entropy"), "energy", ...files, "--definition", "openood");
}));

/** The curves that `eloc evaluate` stores, of known images at 1 and others at 0, each spread over 2. */
function withCurves(results) {
  const points = Array.from({ length: 41 }, (_, i) => 2 - i / 13.333333333333334)
    .map((at) => [at, Math.min(1, Math.max(0, (1 - at) / 2)), Math.min(1, Math.max(0, (2 - at) / 2))]);
  const bins = (low, high, images) => Array.from({ length: 32 }, (_, i) => {
    const center = -1 + (3 * (i + 0.5)) / 32;
    return center > low && center < high ? Math.round((images * 3) / 64) : 0;
  });
  for (const set of results.ood) {
    for (const score of set.scores) score.curves = { low: -1, high: 2, id: bins(0, 2, results.id.images), ood: bins(-1, 1, set.images), points };
  }
  return results;
}

test("the stored results are walked through before anything is dropped", visit(async (page) => {
  const results = JSON.parse(await (await fetch(`${site.origin}/weights/${(await page.evaluate(() => document.documentElement.dataset.weights))}/results.json`)).text());
  const first = await shown(page, "measured");
  const numbers = ({ score, fpr_at_95_tpr, detection_error, auroc, aupr_in, aupr_out }) => [score, fpr_at_95_tpr, detection_error, auroc, aupr_in, aupr_out];
  assert.deepEqual(first, results.ood[0].scores.map(numbers));
  assert.deepEqual(await page.locator("#eval-ood-choice option").allTextContents(), results.ood.map(({ name }) => name));
  assert.match(await page.locator("#study-notes").textContent(), /Tiny-ImageNet, which has classes that the networks learned/);
  assert.match(await page.locator("#beside").textContent(), /Published for Tiny-ImageNet \(crop\).*ODIN/);
  for (const plot of ["histogram", "roc", "pr"]) assert.ok(await page.locator(`#plot-${plot} svg path`).count() > 0, plot);

  // At 95% TPR of scores that are spread evenly from 0 to 2, and at a threshold between two points.
  const value = async (id) => Number(await page.locator(id).getAttribute("data-value"));
  assert.ok(Math.abs(await value("#threshold-value") - 0.1) < 1e-9, await value("#threshold-value"));
  assert.ok(Math.abs(await value("#threshold-tpr") - 0.95) < 1e-9);
  assert.ok(Math.abs(await value("#threshold-fpr") - 0.45) < 1e-9);
  await page.fill("#threshold", "777");
  const threshold = -1 + 0.777 * 3;
  assert.ok(Math.abs(await value("#threshold-tpr") - (2 - threshold) / 2) < 1e-9);
  assert.equal(await value("#threshold-fpr"), 0);
  assert.ok(await page.locator("#thinned").isVisible());
  assert.ok(await page.locator("#mistakes").isHidden());

  const uniform = results.ood.findIndex(({ name }) => name === "uniform");
  await page.selectOption("#eval-ood-choice", { index: uniform });
  await page.selectOption("#eval-score", "energy");
  assert.deepEqual(await shown(page, "measured"), results.ood[uniform].scores.map(numbers));
  assert.match(await page.locator("#beside").textContent(), /Published for uniform/);
  assert.equal(await page.locator("#study-notes").textContent(), "");
  assert.match(await page.locator("#plot-histogram").textContent(), /energy, higher is more known/);
  await page.selectOption("#export-form", "csv");
  assert.match(await downloaded(page, "#export-table"), /^score,fpr_at_95_tpr,/);

  // The address brings set and score back, also to a page that is open.
  const address = page.url(), choice = (id) => page.inputValue(id);
  assert.match(address, /set=uniform/);
  await page.evaluate(() => { location.hash = "#tab=evaluate"; });
  await page.locator("#study-size", { hasText: `against ${results.ood[0].name} (` }).waitFor();
  assert.deepEqual([await choice("#eval-ood-choice"), await choice("#eval-score")], [results.ood[0].name, "eloc"]);
  await page.goto("about:blank");
  await page.goto(address);
  await until(page, ["ready"]);
  assert.deepEqual(await shown(page, "measured"), results.ood[uniform].scores.map(numbers));
  assert.deepEqual([await choice("#eval-ood-choice"), await choice("#eval-score")], ["uniform", "energy"]);

  // The means of near and far sets, and of those that the visitor calls so.
  const mean = async (group, names) => {
    const found = await page.locator(`#eval-summary [data-group=${group}] [data-metric]`).evaluateAll((cells) => cells.map(({ dataset }) => Number(dataset.value)));
    const rows = results.ood.filter(({ name }) => names.includes(name)).map(({ scores }) => numbers(scores.find(({ score }) => score === "energy")).slice(1));
    assert.equal(rows.length, names.length);
    found.forEach((value, i) => assert.ok(Math.abs(value - rows.reduce((sum, row) => sum + row[i], 0) / rows.length) < 1e-12, `${group} ${i}`));
    assert.equal(found.length, 5);
  };
  const near = ["Imagenet", "Imagenet_resize", "Imagenet_smooth", "cifar100"], far = results.ood.map(({ name }) => name).filter((name) => !near.includes(name));
  await mean("near", near);
  await mean("far", far);
  const group = (name) => page.getByLabel(`Group of ${name}`, { exact: true });
  for (const name of near.slice(1)) await group(name).selectOption("");
  await group("gaussian").selectOption("near");
  await mean("near", ["Imagenet", "gaussian"]);
  await mean("far", far.filter((name) => name !== "gaussian"));
  for (const name of ["Imagenet", "gaussian"]) await group(name).selectOption("far");
  assert.equal(await page.locator("#eval-summary [data-group=near]").count(), 0);
  // New numbers leave a list alone that the visitor has in hand.
  await group("gaussian").focus();
  await page.selectOption("#eval-ood-choice", { index: 0 });
  await page.selectOption("#eval-ood-choice", { index: uniform });
  assert.equal(await page.evaluate(() => document.activeElement.ariaLabel), "Group of gaussian");

  // What is dropped stands beside it.
  const folder = scratch(), paths = ["id", "ood"].map((name) => join(folder, `${name}.txt`));
  write(paths[0], text(ID));
  write(paths[1], text(OOD));
  await put(page, [paths[0]], [paths[1]]);
  await shown(page);
  assert.ok(await page.locator("#show-scores").isChecked());
  await page.check("#show-measured");
  assert.deepEqual(await shown(page, "measured"), results.ood[uniform].scores.map(numbers));
  await page.check("#show-scores");
  await shown(page);
  await page.click("#eval-clear");
  await shown(page, "measured");
  assert.ok(await page.locator("#show-scores-label").isHidden());
}, withCurves));

test("stored results without curves show their table", visit(async (page) => {
  await shown(page, "measured");
  assert.match(await page.locator("#study-size").textContent(), /stored without curves/);
  assert.ok(await page.locator("#curves").isHidden());
}, (results) => {
  for (const set of results.ood) for (const score of set.scores) delete score.curves;
  return results;
}));
