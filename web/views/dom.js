// Small helpers to build the page: elements, pixels, and when to do what.
import { oneLine } from "./words.js";

export const byId = (id) => document.getElementById(id);

/**
 * An element with attributes, listeners (`onclick: f`) and children; false, null and undefined leave an attribute out. Text is kept
 * to one line, since it may be the name of a file.
 * @param {string} tag
 * @param {Record<string, any>} attributes
 * @param {...(Node | string | null | undefined)} children
 */
export function el(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

/** As el, for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined)
    .map((child) => (typeof child === "string" ? oneLine(child) : child)));
  return element;
}

/** Writes a text that may have names of files in it into an element. */
export function write(element, text) { element.textContent = oneLine(text); }

/** A table from a row of headings and rows of cells; the first cell of a row is its heading. */
export function table(caption, headings, rows, attributes = {}) {
  const cell = (value, first) => {
    const content = value instanceof Node || typeof value === "string" ? value : String(value);
    return first ? el("th", { scope: "row" }, content) : el("td", {}, content);
  };
  return el("table", attributes,
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, ...headings.map((heading) => el("th", { scope: "col" }, heading)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((value, i) => cell(value, i === 0))))));
}

/** What is wrong with a number field, for a notice; null where nothing is. */
export function misfit(input) {
  if (input.checkValidity()) return null;
  const { min, max, step, value } = input;
  const kind = step === "any" ? "a number" : step ? `a multiple of ${step}` : "a whole number";
  return `${input.labels[0].firstChild.textContent.trim()}: expected ${kind} from ${min} to ${max}, found ${value || "none"}.`;
}

/** Lets a click on `button` do `work`, and no other before that is done; were the button disabled, it would lose the focus. */
export function onClick(button, work) {
  button.addEventListener("click", async () => {
    if (button.ariaDisabled === "true") return;
    button.ariaDisabled = "true";
    try {
      await work();
    } finally {
      button.ariaDisabled = "false";
    }
  });
}

/** Calls `work` at most every `ms`, and once more after the last call. */
export function throttled(work, ms) {
  let timer = null, again = false;
  return function call() {
    if (timer !== null) { again = true; return; }
    work();
    timer = setTimeout(() => {
      timer = null;
      if (again) { again = false; call(); }
    }, ms);
  };
}

/** Calls `work` once, `ms` after the last call. */
export function debounced(work, ms) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, ms);
  };
}

/** Draws planar [3][32][32] pixels into a 32 x 32 canvas. */
export function paint(canvas, pixels) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(32, 32);
  for (let i = 0; i < 1024; i++) {
    image.data[4 * i] = pixels[i];
    image.data[4 * i + 1] = pixels[1024 + i];
    image.data[4 * i + 2] = pixels[2048 + i];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}
