// The views show things and listen to the visitor, one file for each part of the page; index.html lists the ids they go by. Most are
// like this one: a class or a few functions that are given the engine's parts. dom.js, words.js, verdict.js and messages.js are
// what they share.
//
// The gallery: a grid of scored images of which only the visible rows exist, sorted and filtered.
import { fillCard, newCard } from "./card.js";
import { byId, el, throttled } from "./dom.js";
import { settings } from "./settings.js";
import { VERDICTS, className, verdict } from "./verdict.js";
import { listed, plural, whole } from "./words.js";

/** Least width of a card and its height, with their gap, in CSS pixels; style.css has the same. */
const CARD = { width: 142, height: 200 };
/** Rows kept beyond the visible ones, so that fast scrolling finds them ready. */
const OVERSCAN = 2;

/** Made once: to make one takes far longer than to compare two names. */
const NAMES = new Intl.Collator("en", { numeric: true });

/** The gallery of one image set. */
export class Gallery {
  #set;
  #scorer;
  #open;
  #order = [];
  #cards = new Map();
  #columns = 1;
  #active = 0;
  #grid = byId("gallery");

  /** @param {(set: object, index: number) => void} open shows an image's details */
  constructor(set, scorer, open) {
    this.#set = set;
    this.#scorer = scorer;
    this.#open = open;
    this.refresh = throttled(() => this.refreshNow(), 400);
    const redraw = throttled(() => this.#draw(), 16);
    addEventListener("scroll", redraw, { passive: true });
    new ResizeObserver(redraw).observe(this.#grid);
    for (const id of ["filter-text", "filter-verdict", "filter-class"]) {
      byId(id).addEventListener("input", () => this.refreshNow());
    }
    byId("sort").addEventListener("input", () => this.#sortBy(byId("sort").value, false));
    byId("sort-direction").addEventListener("click", () => this.#sortBy(byId("sort").value, !settings.get("sort").endsWith("-down")));
    settings.addEventListener("change", ({ detail }) => detail.names.includes("sort") && this.refreshNow());
    this.#grid.addEventListener("keydown", (event) => this.#move(event));
    this.#grid.addEventListener("focusin", ({ target }) => {
      const place = Number(target.closest(".card")?.dataset.place);
      if (Number.isInteger(place)) this.#active = place;
    });
  }

  /** Offers the classes of the ensemble as a filter. */
  setClasses(classes) {
    byId("filter-class").replaceChildren(
      el("option", { value: "" }, "All classes"), ...classes.map((name) => el("option", { value: name }, name)));
  }

  #sortBy(key, down) { settings.set({ sort: down ? `${key}-down` : key }); }

  /** Sorts, filters and draws anew. */
  refreshNow() {
    const { count } = this.#set;
    byId("gallery-area").hidden = count === 0;
    document.body.classList.toggle("has-images", count > 0);
    const [key, down] = settings.get("sort").split("-");
    byId("sort").value = key;
    byId("sort-direction").textContent = down === "down" ? "Descending" : "Ascending";
    this.#order = this.#sorted(this.#filtered(), key, down);
    if (down) this.#order.reverse();
    this.#active = Math.min(this.#active, Math.max(0, this.#order.length - 1));
    this.#summarise();
    this.#draw();
  }

  #filtered() {
    const text = byId("filter-text").value.trim().toLowerCase();
    const wanted = byId("filter-verdict").value, wantedClass = byId("filter-class").value;
    const chosen = [];
    for (let i = 0; i < this.#set.count; i++) {
      if (text && !this.#set.labels[i].toLowerCase().includes(text)) continue;
      if (wanted && verdict(this.#scorer, this.#set, i) !== wanted) continue;
      if (wantedClass && className(this.#scorer, this.#set, i) !== wantedClass) continue;
      chosen.push(i);
    }
    return chosen;
  }

  #sorted(order, key, down) {
    const { labels, scored, scores, folds } = this.#set;
    const ranks = Object.keys(VERDICTS);
    const compare = {
      // A provisional score counts fewer folds: it is compared by its mean, and what has none comes last.
      score: number((i) => (scored[i] > 0 ? (scores.eloc[i] * folds.length) / scored[i] : down ? -Infinity : Infinity)),
      verdict: number((i) => ranks.indexOf(verdict(this.#scorer, this.#set, i))),
      name: (a, b) => NAMES.compare(labels[a], labels[b]),
      class: (a, b) => NAMES.compare(className(this.#scorer, this.#set, a), className(this.#scorer, this.#set, b)),
    }[key];
    return compare ? order.sort((a, b) => compare(a, b) || a - b) : order;
  }

  #summarise() {
    const counts = {};
    for (let i = 0; i < this.#set.count; i++) {
      const kind = verdict(this.#scorer, this.#set, i);
      counts[kind] = (counts[kind] ?? 0) + 1;
    }
    const parts = Object.keys(VERDICTS).filter((kind) => counts[kind])
      .map((kind) => `${whole(counts[kind])} ${VERDICTS[kind].toLowerCase()}`);
    const shown = this.#order.length < this.#set.count ? ` ${whole(this.#order.length)} shown.` : "";
    byId("gallery-summary").textContent = `${plural(this.#set.count, "image")}: ${listed(parts)}.${shown}`;
    Object.assign(byId("gallery-summary").dataset, { total: this.#set.count, known: counts.known ?? 0, unknown: counts.unknown ?? 0 });
    byId("gallery-empty").hidden = this.#order.length > 0 || this.#set.count === 0;
  }

  #draw() {
    if (this.#grid.offsetParent === null) return;
    this.#columns = Math.max(1, Math.floor(this.#grid.clientWidth / CARD.width));
    const rows = Math.ceil(this.#order.length / this.#columns);
    this.#grid.style.height = `${rows * CARD.height}px`;
    const top = -this.#grid.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / CARD.height) - OVERSCAN) * this.#columns;
    const last = Math.min(this.#order.length, (Math.ceil((top + innerHeight) / CARD.height) + OVERSCAN) * this.#columns);

    const wanted = new Set();
    for (let place = first; place < last; place++) wanted.add(place);
    // The card that the keyboard is at exists, wherever the page is scrolled to: Tab must lead to it.
    if (this.#active < this.#order.length) wanted.add(this.#active);
    for (const [place, card] of this.#cards) {
      if (wanted.has(place)) continue;
      card.remove();
      this.#cards.delete(place);
    }
    for (const place of wanted) this.#place(place);
  }

  /** Shows the image at `place` of the order, in a new card or the one that is there. */
  #place(place) {
    const index = this.#order[place];
    // Just after Clear the order still lists images that are gone.
    if (index === undefined || index >= this.#set.count) return;
    let card = this.#cards.get(place);
    if (!card) {
      card = newCard(() => this.#open(this.#set, Number(card.dataset.index)));
      this.#cards.set(place, card);
      card.dataset.place = place;
      this.#grid.append(card);
    }
    const column = place % this.#columns, row = Math.floor(place / this.#columns);
    const width = this.#grid.clientWidth / this.#columns;
    card.style.width = `${width}px`;
    card.style.transform = `translate(${column * width}px, ${row * CARD.height}px)`;
    card.firstChild.tabIndex = place === this.#active ? 0 : -1;
    card.setAttribute("aria-posinset", place + 1);
    card.setAttribute("aria-setsize", this.#order.length);
    fillCard(card, this.#scorer, this.#set, index);
  }

  #move(event) {
    const step = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.#columns, ArrowUp: -this.#columns,
      PageDown: 4 * this.#columns, PageUp: -4 * this.#columns, Home: -Infinity, End: Infinity,
    }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const place = Math.max(0, Math.min(this.#order.length - 1, this.#active + step));
    this.#active = place;
    this.#place(place);
    const card = this.#cards.get(place);
    card.firstChild.focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest" });
    this.#draw();
  }
}

function number(key) {
  return (a, b) => {
    const [x, y] = [key(a), key(b)];
    return x === y ? 0 : x < y ? -1 : 1;
  };
}
