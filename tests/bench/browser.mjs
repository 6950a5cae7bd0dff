// How fast the page's CPU backend is: both modules, one worker and one for each core, with and without the step; and one network's
// forward pass beside ONNX Runtime Web's wasm with one thread, in the same browser. After ./build.sh test, which sets up the
// browser's driver:
//   CHROMIUM=chromium node tests/bench/browser.mjs                  200 images; makes the ONNX file by onnx.py, which needs PyTorch
//   CHROMIUM=chromium node tests/bench/browser.mjs 400 compact.onnx 5 (with this many images, this file, and five runs)
// Prints a table in Markdown. Without an ONNX file ONNX Runtime Web is left out.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { cpus } from "node:os";
import { extname, join, resolve } from "node:path";

import { ROOT, WEIGHTS, open, picture, scratch, serve, until } from "../page/site.mjs";

const ORT = "1.30.0";
const BATCH = 32, STEP = 0.002;

const [count = "200", given, runs = "3"] = process.argv.slice(2);
const tools = resolve(process.env.TOOLS ?? join(ROOT, "target/tools"));
const app = readdirSync(join(ROOT, "dist")).find((name) => name.startsWith("app"));
const folder = scratch();
const files = Array.from({ length: Number(count) }, (_, index) => picture(join(folder, `${index}.bmp`), index));
const site = await serve();

const WITHOUT_RELAXED = `const { validate } = WebAssembly;
  WebAssembly.validate = (bytes) => !String(bytes).includes("253,133,2") && validate(bytes);`;
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

/** A page in a new browser, in which `script` runs before anything else; `use` gets it and what it answers is returned. */
async function withPage(script, use) {
  const { browser, page } = await open("about:blank");
  try {
    await page.addInitScript(script);
    return await use(page, browser);
  } finally {
    await browser.close();
  }
}

/** Images a second by all folds, on the page. */
function scored(relaxed, workers, epsilon) {
  const script = `Object.defineProperty(Navigator.prototype, "hardwareConcurrency", { get: () => ${workers} }); ${relaxed ? "" : WITHOUT_RELAXED}`;
  return withPage(script, async (page) => {
    await page.goto(`${site.origin}/?backend=cpu#epsilon=${epsilon}`);
    await until(page, ["ready"]);
    await page.waitForFunction(() => document.documentElement.dataset.folds === "5");
    const start = await page.evaluate(() => performance.now());
    await page.setInputFiles("#files", files);
    await until(page, ["scoring"]);
    await until(page, ["idle"]);
    return Number(count) / ((await page.evaluate(() => performance.now()) - start) / 1000);
  });
}

const TYPES = { ".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm" };

/** Does `use` with an empty page of the site, without its policy, which finds files of this machine below /bench/. */
function onEmptyPage(places, use) {
  return withPage("", async (page) => {
    await page.route("**/bench/**", (route) => {
      const [, place, name] = /\/bench\/([^/]*)\/?(.*)$/.exec(new URL(route.request().url()).pathname);
      if (!place) return route.fulfill({ contentType: "text/html", body: "<!doctype html>" });
      const path = name ? join(places[place], name) : places[place];
      return route.fulfill({ contentType: TYPES[extname(path)] ?? "application/octet-stream", body: readFileSync(path) });
    });
    await page.goto(`${site.origin}/bench/`);
    return use(page);
  });
}

/** Images a second of one network's forward pass in batches, by the module `name`. */
function forward(name) {
  return onEmptyPage({ weights: WEIGHTS }, (page) => page.evaluate(async ([app, name, batch]) => {
    const bytes = async (address) => new Uint8Array(await (await fetch(address)).arrayBuffer());
    const eloc = await import(`/${app}/${name}.js`);
    const packed = (await fetch(`/${app}/${name}_bg.wasm.gz`)).body.pipeThrough(new DecompressionStream("gzip"));
    await eloc.default({ module_or_path: await new Response(packed).arrayBuffer() });
    const detector = await eloc.Detector.open("cpu"), manifestBytes = await bytes("/bench/weights/manifest.json");
    const { folds: [fold], odin } = JSON.parse(new TextDecoder().decode(manifestBytes));
    detector.setManifest(manifestBytes);
    detector.addFold(fold.number, await bytes(`/bench/weights/${fold.file}`));
    const images = Uint8Array.from({ length: batch * 3072 }, (_, i) => (i * 7919) % 251);
    const times = [], end = performance.now() + 5000;
    while (performance.now() < end || times.length < 5) {
      const start = performance.now();
      await detector.outputs(fold.number, images, { ...odin, epsilon: 0 });
      times.push(performance.now() - start);
    }
    return (batch * 1000) / times.sort((a, b) => a - b)[times.length >> 1];
  }, [app, name, BATCH]));
}

/** The same by ONNX Runtime Web. */
function forwardOrt(onnx) {
  const ort = join(tools, "node_modules/onnxruntime-web/dist");
  return onEmptyPage({ ort, onnx }, (page) => page.evaluate(async (batch) => {
    const ort = await import("/bench/ort/ort.wasm.min.mjs");
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = "/bench/ort/";
    const session = await ort.InferenceSession.create("/bench/onnx", { executionProviders: ["wasm"] });
    const values = Float32Array.from({ length: batch * 3072 }, (_, i) => ((i * 7919) % 251) / 125 - 1);
    const images = new ort.Tensor("float32", values, [batch, 3, 32, 32]);
    const times = [], end = performance.now() + 5000;
    while (performance.now() < end || times.length < 5) {
      const start = performance.now();
      await session.run({ images });
      times.push(performance.now() - start);
    }
    return (batch * 1000) / times.sort((a, b) => a - b)[times.length >> 1];
  }, BATCH));
}

/** The network as an ONNX file, or null. */
function onnxFile() {
  if (given) return resolve(given);
  const path = join(folder, "compact.onnx");
  try {
    execFileSync("python3", [join(ROOT, "tests/bench/onnx.py"), path], { stdio: ["ignore", "ignore", "inherit"] });
    return path;
  } catch {
    console.log("ONNX Runtime Web is left out: onnx.py made no file.");
    return null;
  }
}

/** Medians of what each of `work` gives, taken in turn, so that a slow minute slows all of them. */
async function measure(work) {
  const found = new Map(Object.keys(work).map((name) => [name, []]));
  for (let run = 0; run < Number(runs); run++) {
    for (const [name, one] of Object.entries(work)) found.get(name).push(await one());
  }
  return [...found].map(([name, values]) => `| ${name} | ${median(values).toFixed(1)} |`).join("\n");
}

const passes = { "eloc, SIMD128": () => forward("eloc"), "eloc, relaxed SIMD": () => forward("eloc_relaxed") };
const onnx = onnxFile();
if (onnx) {
  if (!existsSync(join(tools, "node_modules/onnxruntime-web"))) {
    execFileSync("npm", ["install", "--silent", "--no-fund", "--no-audit", "--prefix", tools, `onnxruntime-web@${ORT}`]);
  }
  passes["ONNX Runtime Web, wasm"] = () => forwardOrt(onnx);
}
const cores = Math.min(8, cpus().length), whole = {};
for (const epsilon of [0, STEP]) {
  for (const [what, relaxed] of [["SIMD128", false], ["relaxed SIMD", true]]) {
    for (const workers of new Set([1, cores])) {
      whole[`${what}, epsilon ${epsilon}, workers: ${workers}`] = () => scored(relaxed, workers, epsilon);
    }
  }
}
console.log(`${cpus()[0].model}, ${cpus().length} cores, Chromium ${await withPage("", (_, browser) => browser.version())}; medians of ${runs} runs\n`);
console.log(`| one network forward, batches of ${BATCH}, one thread | images/s |\n|---|---:|\n${await measure(passes)}\n`);
console.log(`| five folds on the page, ${count} images, files and all | images/s |\n|---|---:|\n${await measure(whole)}`);
site.stop();
