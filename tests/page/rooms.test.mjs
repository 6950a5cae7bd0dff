// The page's modules use each other downwards only: main.js at the door, then views/, then engine/; never in a circle.
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, normalize, resolve } from "node:path";
import { test } from "node:test";

const WEB = resolve(import.meta.dirname, "../../web");
/** From the top down. "." is the door, where index.html lies. */
const ROOMS = [".", "views", "engine"];

const sources = new Map(readdirSync(WEB, { recursive: true }).filter((path) => path.endsWith(".js"))
  .map((path) => [path, readFileSync(join(WEB, path), "utf8")]));
const imports = new Map([...sources].map(([path, text]) =>
  [path, imported(text).map((address) => normalize(join(dirname(path), address)))]));

/** The addresses that a module imports, also where only a comment takes a type from there. */
function imported(text) {
  return [...text.matchAll(/\b(?:from|import)\s*\(?\s*["'](\.[^"']+)["']/g)].map(([, address]) => address);
}

test("every module lies in a room and imports what is there", () => {
  assert.ok(imports.get("main.js").length > 0);
  for (const [path, others] of imports) {
    assert.ok(ROOMS.includes(dirname(path)), `${path}: expected one of the rooms ${ROOMS.join(", ")}`);
    for (const other of others) assert.ok(existsSync(join(WEB, other)), `${path} imports ${other}, found none`);
  }
});

test("no module imports from a room above its own", () => {
  const floor = (path) => ROOMS.indexOf(dirname(path));
  for (const [path, others] of imports) {
    for (const other of others) assert.ok(floor(other) >= floor(path), `${path} imports ${other}, which lies above it`);
  }
});

test("no modules import each other in a circle", () => {
  const done = new Set();
  const visit = (path, trail) => {
    assert.ok(!trail.includes(path), `found a circle: ${[...trail, path].join(" -> ")}`);
    if (done.has(path)) return;
    for (const other of imports.get(path) ?? []) visit(other, [...trail, path]);
    done.add(path);
  };
  for (const path of imports.keys()) visit(path, []);
});

test("the engine knows nothing of the page's elements", () => {
  for (const [path, text] of sources) {
    if (dirname(path) === "engine") assert.doesNotMatch(text, /\bdocument\./, path);
  }
});
