// The page where it cannot run, or where what it needs is missing or damaged: it says so, and does what it still can.
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import { ROOT, dataset, launch, notices, picture, scratch, serve, until } from "./site.mjs";

/** As in style.css: after so long a page without its script says so. */
const LATE_MS = 8_000;

let site, browser;
before(async () => {
  site = await serve();
  browser = await launch();
});
after(async () => {
  await browser.close();
  site.stop();
});

/** Runs `steps` with a new page, of which `errors` has what should not happen. */
const inPage = (steps, options = {}) => async () => {
  const context = await browser.newContext(options);
  const page = await context.newPage(), errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  try {
    await steps(page);
    assert.deepEqual(errors, []);
  } finally {
    await context.close();
  }
};

const said = (page) => page.locator("#load").innerText();

for (const [what, script, words] of [
  ["DecompressionStream", "delete window.DecompressionStream", /unpacking of compressed data \(DecompressionStream\)/],
  ["WebAssembly", "delete window.WebAssembly", /programs in WebAssembly/],
  ["SIMD", "const { validate } = WebAssembly; WebAssembly.validate = (bytes) => !bytes.includes(123) && validate(bytes)", /needs: vector instructions of WebAssembly \(SIMD\)\./],
  ["workers", "window.Worker = function () { throw new Error('no'); }", /background workers/],
]) {
  test(`a browser without ${what} is told what it lacks`, inPage(async (page) => {
    await page.addInitScript(script);
    await page.goto(site.origin);
    await until(page, ["failed"]);
    assert.match(await said(page), words);
    assert.match(await said(page), /too old/);
    assert.equal(await page.locator("#try").isVisible(), false);
    assert.equal(await page.locator("#not-started").count(), 0);
  }));
}

test("a browser that has everything is not told that it lacks anything", inPage(async (page) => {
  await page.goto(`${site.origin}/?backend=cpu`);
  await until(page, ["ready"]);
  assert.equal(await page.locator("#not-started").count(), 0);
  assert.deepEqual(await notices(page), []);
}));

test("without JavaScript the page says that it needs it", inPage(async (page) => {
  await page.goto(site.origin);
  assert.match(await page.locator("body").innerText(), /This page needs JavaScript/);
}, { javaScriptEnabled: false }));

/** Adds a security policy to the page's own, as a host may. */
const withPolicy = (page, policy) => page.route(`${site.origin}/`, async (route) => {
  const response = await route.fetch();
  await route.fulfill({ response, headers: { ...response.headers(), "content-security-policy": policy } });
});

test("a page whose script is blocked says so after some seconds", inPage(async (page) => {
  await withPolicy(page, "script-src 'none'");
  await page.goto(site.origin);
  const hint = page.locator("#not-started");
  assert.equal(await hint.isVisible(), false);
  await hint.waitFor({ timeout: LATE_MS + 5_000 });
  assert.match(await hint.innerText(), /blocks scripts/);
}));

test("a page that was opened as a file says how it is served", inPage(async (page) => {
  await page.goto(pathToFileURL(join(ROOT, "dist/index.html")).href);
  await until(page, ["failed"]);
  assert.match(await said(page), /has to be served: run \.\/build\.sh serve/);
}));

test("a page whose program is gone can be loaded again", inPage(async (page) => {
  await page.route("**/views/gallery.js", (route) => route.fulfill({ status: 404 }));
  await page.goto(`${site.origin}/?backend=cpu`);
  await until(page, ["failed"]);
  assert.match(await said(page), /program could not be loaded/);
  await page.unroute("**/views/gallery.js");
  await page.click("#retry");
  await until(page, ["ready"]);
}));

/** Opens the page in a sandboxed frame; an `open` host lets every origin read its files. */
async function inSandbox(page, open) {
  await page.route("**/*", async (route) => {
    if (route.request().url().endsWith("/frame.html")) {
      return route.fulfill({ contentType: "text/html", body: `<iframe sandbox="allow-scripts" width="1000" height="800" src="/?backend=cpu"></iframe>` });
    }
    if (!open) return route.continue();
    const response = await route.fetch();
    await route.fulfill({ response, headers: { ...response.headers(), "access-control-allow-origin": "*" } });
  });
  await page.goto(`${site.origin}/frame.html`);
  return page.frames()[1];
}

test("a sandboxed frame works where the host lets it read the page's files", inPage(async (page) => {
  const frame = await inSandbox(page, true);
  await until(frame, ["ready"]);
  await frame.click("#try");
  await until(frame, ["idle"]);
  assert.equal(await frame.evaluate(() => window.origin), "null");
  assert.deepEqual(await notices(frame), []);
}));

test("a sandboxed frame that may not read the page's files says so", inPage(async (page) => {
  const frame = await inSandbox(page, false);
  await until(frame, ["failed"]);
  assert.match(await said(frame), /sandbox without allow-same-origin/);
}));

for (const [what, answer, words] of [
  ["a newer version was put up", (route) => route.fulfill({ status: 404 }), /A newer version of this page was put up since it was opened\. Load the page again/],
  ["the server is gone", (route) => route.abort(), /server of this page cannot be reached/],
]) {
  test(`files that are dropped after ${what} are not blamed, and can be read later`, inPage(async (page) => {
    await page.goto(`${site.origin}/?backend=cpu`);
    await until(page, ["ready"]);
    await page.waitForFunction(() => document.documentElement.dataset.folds === "5");
    await page.route("**/engine/worker.js", answer);
    const folder = scratch();
    await page.setInputFiles("#files", [1, 2, 3].map((seed) => picture(join(folder, `${seed}.bmp`), seed)));
    await page.locator(".notice", { hasText: words }).waitFor();
    assert.equal((await notices(page)).length, 1);
    assert.equal(await page.locator("#problems").getAttribute("data-count"), "0");
    await page.unroute("**/engine/worker.js");
    await page.click("#resume");
    await page.waitForFunction(() => document.querySelectorAll("#gallery .card").length === 3);
    await until(page, ["idle"]);
  }));
}

test("a page whose workers cannot be loaded gives up at once, and does not blame the graphics card", inPage(async (page) => {
  await page.route("**/engine/worker.js", (route) => route.fulfill({ status: 404 }));
  await page.goto(site.origin);
  await until(page, ["failed"]);
  const told = (await notices(page)).join("\n");
  assert.match(told, /A newer version of this page/);
  assert.doesNotMatch(told, /graphics|failed \(/);
}));

test("a page that may start no workers says so once", inPage(async (page) => {
  await withPolicy(page, "worker-src 'none'");
  await page.goto(site.origin);
  await until(page, ["failed"]);
  const told = (await notices(page)).join("\n");
  assert.match(told, /does not let this page start a background worker/);
  assert.doesNotMatch(told, /graphics|failed \(/);
}));

/** All files below a folder that are as large as a fold. */
const largeFiles = (folder) => readdirSync(folder, { recursive: true }).map((name) => join(folder, name))
  .filter((path) => statSync(path).isFile() && statSync(path).size > 300_000);

/** Visits the page with what `profile` keeps, does `steps`, and returns how many folds were fetched. */
async function visitWith(profile, steps) {
  const context = await launch({ profile });
  try {
    const page = await context.newPage();
    let fetched = 0;
    page.on("request", (request) => { fetched += /weights\/[^/]+\/[0-9a-f]{64}$/.test(request.url()); });
    await page.goto(`${site.origin}/?backend=cpu`);
    await page.waitForFunction(() => document.documentElement.dataset.folds === "5");
    await until(page, ["ready"]);
    assert.deepEqual(await notices(page), []);
    await steps(page);
    return fetched;
  } finally {
    await context.close();
  }
}

test("weights that are damaged in the browser's cache are fetched anew, all at once", async () => {
  const profile = scratch(), kept = async (page) => {
    // The last fold is kept a moment after it is used.
    await page.waitForFunction(async () => (await (await caches.open("eloc-weights")).keys()).length === 5);
  };
  assert.equal(await visitWith(profile, kept), 5);
  assert.equal(await visitWith(profile, kept), 0);

  // On the disk, so that the browser finds out as it reads.
  const folder = ["Default/Service Worker/CacheStorage", "Default/CacheStorage"].map((name) => join(profile, name)).find(existsSync);
  const files = largeFiles(folder);
  assert.equal(files.length, 5);
  for (const path of files) {
    const bytes = readFileSync(path);
    bytes.fill(0xee, 1000, bytes.length - 1000);
    writeFileSync(path, bytes);
  }
  assert.equal(await visitWith(profile, kept), 5);
  assert.equal(await visitWith(profile, kept), 0);

  // By hand: whole files of other content, or cut off.
  await visitWith(profile, (page) => page.evaluate(async () => {
    const cache = await caches.open("eloc-weights");
    for (const [i, key] of (await cache.keys()).entries()) {
      const bytes = new Uint8Array(await (await cache.match(key)).arrayBuffer());
      bytes.fill(0xee, 100, 200);
      await cache.put(key, new Response(i % 2 ? bytes : bytes.slice(0, 1000), { headers: { "x-weights": "cifar10" } }));
    }
  }));
  assert.equal(await visitWith(profile, kept), 5);
});

test("a program that is damaged in the browser's cache is fetched anew", inPage(async (page) => {
  let asked = 0;
  await page.route("**/*_bg.wasm.gz", (route) => {
    asked += 1;
    return asked === 1 ? route.fulfill({ body: "damaged", contentType: "application/gzip" }) : route.continue();
  });
  await page.goto(`${site.origin}/?backend=cpu`);
  await until(page, ["ready"]);
  assert.equal(asked, 2);
  assert.equal((await dataset(page)).backend, "cpu");
}));
