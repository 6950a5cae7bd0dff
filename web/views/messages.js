// What the page tells its visitor: notices, files that could not be used, and words for screen readers.
import { byId, el, throttled } from "./dom.js";
import { csv, download } from "./export.js";
import { plural } from "./words.js";

/** Problems that are listed on the page; the others are in the list to download, as many as memory bears. */
const PROBLEMS_SHOWN = 500, PROBLEMS_KEPT = 200_000;

let problems = 0;
/** @type {[label: string, reason: string][]} */
let kept = [];
const sayProblems = throttled(() => say(byId("problems-summary").textContent), 2_000);

/** Shows a sentence until it is dismissed. @param {"info" | "warning" | "error"} kind @returns {HTMLElement} */
export function notice(text, kind) {
  const close = el("button", { type: "button", class: "quiet notice-close", onclick: () => box.remove() }, "Dismiss");
  const box = el("div", { class: "notice", "data-kind": kind }, el("p", {}, text), close);
  // The same words again are the same notice.
  for (const other of byId("notices").children) if (other.firstChild.textContent === box.firstChild.textContent) other.remove();
  byId("notices").append(box);
  // Behind the details they would not be heard.
  if (byId("notices").inert) say(text);
  return box;
}

/** Lists a file that could not be used. */
export function problem(label, reason) {
  problems += 1;
  if (problems <= PROBLEMS_KEPT) kept.push([label, reason]);
  byId("problems").hidden = false;
  byId("problems").dataset.count = problems;
  byId("problems-summary").textContent = `${plural(problems, "file")} could not be used` +
    (problems > PROBLEMS_SHOWN ? `; the first ${PROBLEMS_SHOWN} are listed here` : "");
  sayProblems();
  if (problems <= PROBLEMS_SHOWN) byId("problems-list").append(el("tr", {}, el("th", { scope: "row" }, label), el("td", {}, reason)));
}

/** Hands the whole list of problems to the visitor. */
export function downloadProblems() { download("eloc-problems.csv", "text/csv", csv([["file", "reason"], ...kept])); }

/** Empties the list of problems. */
export function clearProblems() {
  problems = 0;
  kept = [];
  byId("problems-list").replaceChildren();
  byId("problems").hidden = true;
  byId("problems").dataset.count = 0;
}

/** Tells screen readers, which would stumble over a text that changes ten times a second. */
export function say(text) { byId("spoken").textContent = text; }
