// What a visitor's first visit costs: bytes, time to the first score, images/s, dispatches. After ./build.sh:
//   node tests/bench/page.mjs cpu 200
//   node tests/bench/page.mjs webgpu 16     (software WebGPU where there is no graphics card)
//   node tests/bench/page.mjs cpu 100 0.002 (with this epsilon instead of that of the weights)
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";

import { open, picture, scratch, serve, until } from "../page/site.mjs";

const [backend = "cpu", count = "64", epsilon] = process.argv.slice(2);
const dist = resolve(import.meta.dirname, "../../dist");
const site = await serve();
const url = `${site.origin}/?backend=${backend}${epsilon ? `#epsilon=${epsilon}` : ""}`;
const { browser, page, requests } = await open(url, { gpu: backend === "webgpu" });
await until(page, ["ready"]);
const ready = await page.evaluate(() => performance.now());
const folder = scratch();
const files = Array.from({ length: Number(count) }, (_, index) => picture(join(folder, `${index}.bmp`), index));
const start = await page.evaluate(() => performance.now());
await page.setInputFiles("#files", files);
await until(page, ["scoring"]);
await until(page, ["idle"]);
const [first, end] = await page.evaluate(() => [performance.getEntriesByName("eloc:first-score")[0].startTime, performance.now()]);
await page.click("#tab-device");
const report = await page.locator("#report").textContent();

// Static hosts compress scripts and text; the module and the weights are compressed already.
let bytes = 0;
for (const path of new Set(requests.filter((address) => address.startsWith(site.origin)).map((address) => new URL(address).pathname))) {
  const file = readFileSync(join(dist, path === "/" ? "index.html" : path));
  bytes += /\/[0-9a-f]{64}$|\.gz$/.test(path) ? file.length : gzipSync(file, { level: 9 }).length;
}
console.log(`first visit: ${bytes} bytes`);
console.log(`from opening to the first fold's readiness: ${(ready / 1000).toFixed(1)} s`);
console.log(`from dropping to the first score: ${((first - start) / 1000).toFixed(1)} s`);
console.log(`${count} images by five folds: ${(Number(count) / ((end - start) / 1000)).toFixed(2)} images/s`);
console.log(report.split("\n").filter((line) => /outputs of|warm-up/.test(line)).join("\n"));
await browser.close();
site.stop();
