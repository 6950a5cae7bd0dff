// Small helpers to build the page and to write numbers.

export const byId = (id) => document.getElementById(id);

/**
 * An element with attributes, listeners (`onclick: f`) and children; false, null and undefined leave an attribute out.
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
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

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

/** A fraction in percent, with two decimals as in the papers' tables; "not defined" for null. */
export function percent(fraction) {
  return fraction === null || fraction === undefined ? "not defined" : (100 * fraction).toFixed(2);
}

/** 12345 as "12,345". */
export const whole = (n) => n.toLocaleString("en-US");

/** "1 image", "2 images". */
export const plural = (n, noun) => `${whole(n)} ${noun}${n === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;

/** Seconds as a person says them. */
export function duration(seconds) {
  if (seconds < 90) return plural(Math.max(1, Math.round(seconds)), "second");
  if (seconds < 5400) return plural(Math.round(seconds / 60), "minute");
  return `${(seconds / 3600).toFixed(1)} hours`;
}

/** "a", "a and b", "a, b and c". */
export function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
