// Files as visitors have them: folders that lead back to themselves, names that are no text or break lines, archives of which a
// part cannot be used.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { ROOT, launch, picture, scratch, serve, until, write } from "./site.mjs";

let site, browser;
before(async () => {
  site = await serve();
  browser = await launch();
});
after(async () => {
  await browser.close();
  site.stop();
});

/** Runs `steps` with the page, which may have no error. */
const visit = (hash, steps) => async () => {
  const context = await browser.newContext();
  const page = await context.newPage(), errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  try {
    await page.goto(`${site.origin}/?backend=cpu${hash}`);
    await until(page, ["ready"]);
    await steps(page);
    assert.deepEqual(errors, []);
  } finally {
    await context.close();
  }
};

const problems = (page) => page.locator("#problems-list tr").evaluateAll((rows) =>
  rows.map((row) => [...row.children].map((cell) => cell.textContent)));

/** Lets go of files above the page, as a file manager does. */
async function drop(page, paths) {
  const session = await page.context().newCDPSession(page);
  for (const type of ["dragEnter", "dragOver", "drop"]) {
    await session.send("Input.dispatchDragEvent", { type, x: 300, y: 300, data: { items: [], files: paths, dragOperationsMask: 1 } });
  }
}

/** The text of a file that a click on `button` hands out. */
async function downloaded(page, button) {
  const [file] = await Promise.all([page.waitForEvent("download"), page.locator(button).evaluate((element) => element.click())]);
  return readFileSync(await file.path(), "utf8");
}

/** Packs the files in `folder` as a tar beside it; returns its path. */
function tar(folder) {
  execFileSync("tar", ["-cf", `${folder}.tar`, "-C", folder, ...readdirSync(folder).sort()]);
  return `${folder}.tar`;
}

const latin = (...parts) => Buffer.from(join(...parts), "latin1");
/** Some systems allow no such names; there the fault cannot arise. */
function namesNeedNoText() {
  try {
    mkdirSync(latin(scratch(), "caf\xe9"));
    return true;
  } catch {
    return false;
  }
}

test("a dropped folder with names that are no text is read, but for these",
  { skip: !namesNeedNoText() }, visit("", async (page) => {
    const folder = join(scratch(), "set");
    for (const [seed, name] of ["a.bmp", "inner/b.bmp"].entries()) picture(join(folder, name), seed);
    mkdirSync(latin(folder, "caf\xe9"));
    writeFileSync(latin(folder, "caf\xe9", "c.bmp"), readFileSync(join(folder, "a.bmp")));
    writeFileSync(latin(folder, "\xe9t\xe9.bmp"), readFileSync(join(folder, "a.bmp")));
    await drop(page, [folder]);
    await page.waitForFunction(() => document.querySelectorAll("#gallery .card").length === 2);
    await until(page, ["idle"]);
    const found = await problems(page);
    assert.equal(found.length, 2);
    for (const [label, reason] of found) {
      assert.equal(label, "set/(a name that is no text)");
      assert.match(reason, /name of other bytes than text/);
    }
  }));

/** The module needs nothing else, so that it can be tried without a browser. */
const { filesBelow } = await import(`data:text/javascript,${encodeURIComponent(readFileSync(join(ROOT, "web/engine/files.js"), "utf8"))}`);

/** Entries as a browser hands them out; `list(call)` is what a folder's reader answers to each call. */
const file = (name, above = "") => ({ name, fullPath: `${above}/${name}`, isFile: true, isDirectory: false, file: (done) => done({ name }) });
const folder = (name, above, list) => {
  const entry = { name, fullPath: `${above}/${name}`, isFile: false, isDirectory: true };
  entry.createReader = () => {
    let calls = 0;
    return { readEntries: (done, failed) => {
      try { done(list(calls++, entry)); } catch (error) { failed(error); }
    } };
  };
  return entry;
};
const once = (...entries) => (call) => (call === 0 ? entries : []);

async function walked(top) {
  const told = [];
  const files = await filesBelow(top, (path, reason) => told.push([path, reason]));
  return { paths: files.map(({ path }) => path).sort(), told };
}

test("a walk ends in a folder that contains itself, under no name or any", async () => {
  for (const name of ["", ".", "again"]) {
    const top = folder("top", "", (call, entry) => (call > 0 ? [] : [file("a.png", "/top"), { ...entry, name, createReader: entry.createReader }]));
    const { paths, told } = await walked(top);
    assert.deepEqual(paths, ["top/a.png"]);
    assert.equal(told.length, 1, name);
  }
});

test("a walk ends at a depth", async () => {
  const deeper = (above) => folder("d", above, (call, entry) => (call > 0 ? [] : [file("a.png", entry.fullPath), deeper(entry.fullPath)]));
  const { paths, told } = await walked(deeper(""));
  assert.equal(paths.length, 65);
  assert.deepEqual(told.map(([, reason]) => reason), ["Only 64 folders within each other are opened."]);
});

test("a walk ends in a folder that never does", async () => {
  const { paths, told } = await walked(folder("top", "", (call) => Array.from({ length: 1000 }, (_, i) => file(`${call}-${i}.png`, "/top"))));
  assert.equal(paths.length, 500_000);
  assert.deepEqual(told, [["top", "More than 500,000 files and folders; the rest was left out."]]);
});

test("what cannot be opened is named, and keeps nothing else from being read", async () => {
  const refuses = (message) => () => { throw new Error(message); };
  const shut = folder("shut", "/top", refuses("not allowed"));
  const gone = { ...file("gone.png", "/top"), file: (_, failed) => failed(new Error("not found")) };
  const { paths, told } = await walked(folder("top", "", once(shut, gone, file("a.png", "/top"), folder("in", "/top", once(file("b.png", "/top/in"))))));
  assert.deepEqual(paths, ["top/a.png", "top/in/b.png"]);
  assert.deepEqual(told.sort(), [["top/gone.png", "not found"], ["top/shut", "not allowed"]]);
});

/** Escape, bell, line breaks, marks that turn the direction, one of the second half of the control characters. */
const NAME = "a\u001b[31m\u0007\nb\tc\r\u202egpj\u0085\u2028.bmp";
const SHOWN = "a\\u{1b}[31m\\u{7}\\nb\\tc\\r\\u{202e}gpj\\u{85}\\u{2028}.bmp";
const UNRULY = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u;

test("control characters in names are written out, on the page and in its files", visit("", async (page) => {
  const buffer = readFileSync(picture(join(scratch(), "a.bmp"), 1));
  const named = (name, content = buffer) => ({ name, mimeType: "image/bmp", buffer: content });
  await page.setInputFiles("#files", [named(NAME), named(`bad${NAME}`, Buffer.from("no image")), named("=1+1.bmp")]);
  await page.waitForFunction(() => document.querySelectorAll("#gallery .card").length === 2);
  await until(page, ["idle"]);
  const label = page.locator("#gallery .card[data-index='0'] .card-label");
  assert.deepEqual([await label.textContent(), await label.getAttribute("title")], [SHOWN, SHOWN]);
  assert.equal((await problems(page))[0][0], `bad${SHOWN}`);
  await page.click("#gallery .card[data-index='0'] button");
  assert.equal(await page.locator("#details-name").textContent(), SHOWN);

  const lines = (await downloaded(page, "#export-csv")).trimEnd().split("\n");
  assert.equal(lines.length, 3);
  assert.equal(lines[1].split(",")[1], SHOWN);
  assert.equal(lines[2].split(",")[1], "'=1+1.bmp");
  for (const line of lines) assert.doesNotMatch(line, UNRULY);
  const list = (await downloaded(page, "#problems-csv")).trimEnd().split("\n");
  assert.equal(list.length, 2);
  assert.ok(list[1].startsWith(`bad${SHOWN},`), list[1]);

  // As the name of a set it is in tables, choices and plots, too; an export keeps its meaning.
  await page.click("#tab-evaluate");
  await page.setInputFiles("#id-files", named(NAME));
  await page.setInputFiles("#ood-files", named(`other${NAME}`));
  await page.waitForFunction(() => document.querySelector("#study").dataset.final === "true");
  assert.ok((await page.locator("#id-sets li").textContent()).startsWith(SHOWN));
  for (const place of ["#id-sets", "#ood-sets", "#eval-ood-choice", "#study-size", "#plot-histogram", "#histogram-data"]) {
    assert.doesNotMatch(await page.locator(place).evaluate((element) => element.textContent.replaceAll("\n", "")), UNRULY, place);
  }
  await page.locator("#export-json:enabled").waitFor();
  const text = await downloaded(page, "#export-json");
  assert.doesNotMatch(text.replaceAll("\n", ""), UNRULY);
  const { id, ood } = JSON.parse(text);
  assert.deepEqual([id.name, id.images, ood[0].name], [NAME, [NAME], `other${NAME}`]);
  const plot = await downloaded(page, "#histogram-svg");
  assert.match(plot, /<svg/);
  assert.equal(await page.evaluate((xml) => new DOMParser().parseFromString(xml, "image/svg+xml").querySelector("parsererror")?.textContent, plot), undefined);
}));

test("what an archive has beside images is listed, all of it, and the images are scored", visit("", async (page) => {
  const folder = join(scratch(), "mixed"), count = 600;
  for (const seed of [1, 2, 3]) picture(join(folder, `${seed}.bmp`), seed);
  for (let i = 0; i < count; i++) write(join(folder, `broken-${i}.png`), "no image");
  execFileSync("ln", ["-s", "nowhere.bmp", join(folder, "link.bmp")]);
  await page.setInputFiles("#files", tar(folder));
  await page.waitForFunction((count) => document.querySelector("#problems").dataset.count === String(count), count + 1);
  await page.waitForFunction(() => document.querySelectorAll("#gallery .card").length === 3);
  await until(page, ["idle"]);
  assert.match(await page.locator("#problems-summary").textContent(), /^601 files could not be used; the first 500 are listed here$/);
  const listed = await problems(page);
  assert.equal(listed.length, 500);
  for (const [label, reason] of listed) {
    assert.ok(label.startsWith("mixed.tar/broken-"), label);
    assert.ok(reason.length > 0);
  }
  const lines = (await downloaded(page, "#problems-csv")).trimEnd().split("\n");
  assert.equal(lines.length, 1 + count + 1);
  assert.ok(lines.some((line) => line.startsWith("mixed.tar/link.bmp,")));
  await page.click("#problems summary");
  assert.ok(await page.locator("#problems .scroll").evaluate((element) => element.clientHeight < 600));

  // The same archive again has the same problems again.
  await page.click("#problems-clear");
  await page.setInputFiles("#files", `${folder}.tar`);
  await page.waitForFunction((count) => document.querySelector("#problems").dataset.count === String(count), count + 1);
}));

test("reading that was cancelled tells no problem twice, and loses none", visit("#tab=evaluate", async (page) => {
  const folder = join(scratch(), "many"), pairs = 400;
  for (let i = 0; i < pairs; i++) {
    picture(join(folder, `${1000 + i}-a.bmp`), i);
    write(join(folder, `${1000 + i}-b.png`), "no image");
  }
  await page.evaluate(() => new MutationObserver((_, observer) => {
    if (!document.querySelector("#ood-sets li:not([data-count='0'])")) return;
    observer.disconnect();
    document.querySelector("#cancel").click();
  }).observe(document.querySelector("#ood-sets"), { subtree: true, attributes: true, childList: true }));
  await page.setInputFiles("#ood-files", tar(folder));
  await page.locator("#ood-sets li", { hasText: "not read yet" }).waitFor();
  const told = Number(await page.locator("#problems").getAttribute("data-count"));
  assert.ok(told > 0 && told < pairs, String(told));
  await page.click("#resume");
  await page.waitForFunction((pairs) => document.querySelector("#ood-sets li").dataset.count === String(pairs), pairs);
  await page.waitForFunction(() => !document.querySelector("#work-text").textContent.includes("Reading"));
  assert.equal(await page.locator("#problems").getAttribute("data-count"), String(pairs));
}));
