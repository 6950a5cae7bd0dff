// What the page's tests share: the built site on a local server, a browser, and small files made on the spot.
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

export const ROOT = resolve(import.meta.dirname, "../..");
const { chromium } = createRequire(`${resolve(process.env.TOOLS ?? join(ROOT, "target/tools"))}/`)("playwright-core");

/** The networks that the page starts with. */
const [{ name: WEIGHTS_NAME }] = JSON.parse(readFileSync(join(ROOT, "dist/weights/index.json"), "utf8"));
export const WEIGHTS = join(ROOT, "weights", WEIGHTS_NAME);
const FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
/** Software WebGPU, the same on every machine. */
const GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

/** An empty folder that the system clears away. */
export const scratch = () => mkdtempSync(join(tmpdir(), "eloc-page-"));

/** Serves dist/ and returns its address and what stops it. */
export async function serve() {
  // Its log would fill a pipe that nobody reads, and the server would wait for ever.
  const server = spawn("python3", ["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", join(ROOT, "dist"), "0"],
    { stdio: ["ignore", "pipe", "ignore"] });
  const port = await new Promise((resolved, failed) => {
    server.on("exit", () => failed(new Error("python3 -m http.server stopped")));
    server.stdout.on("data", (text) => {
      const match = /port (\d+)/.exec(text);
      if (match) resolved(match[1]);
    });
  });
  return { origin: `http://127.0.0.1:${port}`, stop: () => server.kill() };
}

/** A new browser; with a `profile`, the folder of what it keeps, its only context. */
export function launch({ gpu = false, profile = null } = {}) {
  const options = { executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: gpu ? [...FLAGS, ...GPU] : FLAGS };
  return profile ? chromium.launchPersistentContext(profile, options) : chromium.launch(options);
}

/**
 * A new browser with the page open; `errors` collects what should not happen, `requests` every address asked for.
 * `prelude` is a script that runs in the workers before the page's own use of WebGPU.
 */
export async function open(address, { gpu = false, prelude = "" } = {}) {
  const browser = await launch({ gpu });
  const page = await browser.newPage();
  const errors = [], requests = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("request", (request) => requests.push(request.url()));
  await page.route("**/webgpu.js", async (route) => {
    const original = await route.fetch();
    await route.fulfill({ response: original, body: `${prelude}\n${await original.text()}` });
  });
  try {
    await page.goto(address);
  } catch (error) {
    await browser.close();
    throw error;
  }
  return { browser, page, errors, requests };
}

/** Waits until the page is in one of these states. */
export const until = (page, states, timeout = 600_000) =>
  page.waitForFunction((states) => states.includes(document.documentElement.dataset.state), states, { timeout });

/** The page's backend, number of folds, ... */
export const dataset = (page) => page.evaluate(() => ({ ...document.documentElement.dataset }));

/** The text of the notices. */
export const notices = (page) => page.locator(".notice").allTextContents();

/** Scores of the gallery's images in the order in which they were added. */
export const scores = (page) => page.evaluate(() => [...document.querySelectorAll("#gallery .card")]
  .sort((a, b) => a.dataset.index - b.dataset.index).map((card) => Number(card.dataset.score)));

/** What the command line prints. */
export const cli = (...args) => execFileSync(process.env.ELOC, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

/** The command line's scores of files, with the shipped weights on the CPU. */
export const cliScores = (files, ...settings) => cli("score", "--json", "--device", "cpu", "--weights", WEIGHTS, ...settings, ...files)
  .trim().split("\n").map((line) => JSON.parse(line).score);

/** The command line's comparison with results that the page exported. */
export const cliCompare = (results, id, ood, json) => cli("evaluate", "--device", "cpu", "--weights", WEIGHTS, "--id", id,
  "--ood", ...ood, "--data", scratch(), "--compare", results, "--json", json);

/** Writes a 32 x 32 picture of blobs that depend on `seed`; returns its path. */
export function picture(path, seed) {
  const side = 32, pixels = Buffer.alloc(3 * side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      for (let channel = 0; channel < 3; channel++) {
        const wave = Math.sin((x * (seed % 5 + 1) + channel * seed) / 9) * Math.cos((y * (seed % 3 + 1) - seed) / 7);
        pixels[3 * (y * side + x) + channel] = Math.round(127.5 + 127 * wave);
      }
    }
  }
  write(path, bitmap(side, side, pixels));
  return path;
}

/** A bitmap file of `width` x `height` whose data are `pixels`, of which there may be too few. */
export function bitmap(width, height, pixels) {
  const header = Buffer.alloc(54);
  header.write("BM");
  header.writeUInt32LE(54 + pixels.length, 2);
  header.writeUInt32LE(54, 10);
  header.writeUInt32LE(40, 14);
  header.writeInt32LE(width, 18);
  header.writeInt32LE(height, 22);
  header.writeUInt16LE(1, 26);
  header.writeUInt16LE(24, 28);
  return Buffer.concat([header, pixels]);
}

/** Writes a file and the folders above it. */
export function write(path, bytes) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
}

/** Packs the files in `folder` as a tar.gz beside it, the last names first; returns its path. */
export function tarGz(folder) {
  execFileSync("tar", ["-czf", `${folder}.tar.gz`, "-C", folder, ...readdirSync(folder).sort().reverse()]);
  return `${folder}.tar.gz`;
}
