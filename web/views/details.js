// The details of one image: what each fold says, before and after the perturbation, and how its settings change that.
import { paint } from "../engine/imageset.js";
import { byId, debounced, el, listed, percent, table } from "./dom.js";
import { settings } from "./settings.js";
import { VERDICTS, className, leastScore, scoreText, timesThreshold, verdict } from "./verdict.js";

/** As in style.css: up to this width the panel covers the page. */
const COVERING = matchMedia("(max-width: 999px)");
/** Classes shown with a bar; of a hundred classes the rest are all but zero. */
const BARS = 10;
/** Classes named that a fold never saw, where there are many. */
const NAMES = 3;

/** The panel at the side. */
export class Details {
  #scorer;
  #analyst;
  #set = null;
  #index = 0;
  #odin = null;
  #wanted = 0;
  /** How many folds were here when the image was last explained. */
  #asked = 0;
  #answers = null;
  #back = null;
  #panel = byId("details");

  constructor(scorer, analyst) {
    this.#scorer = scorer;
    this.#analyst = analyst;
    byId("details-close").addEventListener("click", () => this.close());
    this.#panel.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
    const explain = debounced(() => this.#explain(), 200);
    // Each slider changes its own setting only: the other's value need not be one that its slider can show.
    const slider = (name, from) => byId(`details-${name}`).addEventListener("input", ({ target }) => {
      this.#odin = { ...this.#odin, [name]: from(Number(target.value)) };
      this.#label();
      explain();
    });
    slider("epsilon", (value) => value);
    // Three digits, so that the slider's ends and its round values are exact.
    slider("temperature", (value) => Number((10 ** value).toPrecision(3)));
    byId("details-reset").addEventListener("click", () => this.#use(this.#manifest.odin));
    byId("details-apply").addEventListener("click", () => settings.setOdin(this.#odin, this.#manifest));
    byId("details-fold").addEventListener("input", () => this.#maps());
    COVERING.addEventListener("change", () => this.#cover());
  }

  get #manifest() { return this.#scorer.ensemble.manifest; }

  /** Shows image `index` of `set`. */
  open(set, index) {
    if (!this.#scorer.ensemble) return;
    this.#back = document.activeElement;
    this.#set = set;
    this.#index = index;
    this.#answers = null;
    // What is shown is of another image.
    this.#panel.dataset.stale = "";
    byId("details-problem").textContent = "";
    this.#panel.hidden = false;
    document.body.classList.add("has-details");
    this.#cover();
    this.#panel.dataset.index = index;
    paint(byId("details-image"), set.pixels(index));
    byId("details-name").textContent = set.labels[index];
    byId("details-close").focus();
    this.#use(this.#scorer.odin);
  }

  close() {
    if (this.#panel.hidden) return;
    this.#wanted += 1;
    this.#panel.hidden = true;
    this.#set = null;
    document.body.classList.remove("has-details");
    this.#cover();
    this.#back?.focus();
  }

  /** The images of `set` are gone. */
  closeOf(set) {
    if (set === this.#set) this.close();
  }

  /** What the panel covers takes no focus. */
  #cover() {
    const covered = !this.#panel.hidden && COVERING.matches;
    for (const behind of document.querySelectorAll("body > :not(.columns, #spoken), #content")) behind.inert = covered;
  }

  /** All images are scored in another way, which may be the way that is shown. */
  settingsChanged() {
    if (!this.#set) return;
    this.#label();
    this.#sentence();
  }

  /** New scores came in, which may be this image's; more folds say more. */
  refresh(set, start, count) {
    if (set !== this.#set || this.#index < start || this.#index >= start + count) return;
    this.#sentence();
    if (this.#asked < this.#scorer.ensemble.loaded) this.#explain();
  }

  /** The sliders to `odin`, and everything computed with it. */
  #use(odin) {
    this.#odin = { ...odin };
    byId("details-epsilon").value = odin.epsilon;
    byId("details-temperature").value = Math.log10(odin.temperature);
    this.#label();
    this.#sentence();
    this.#explain();
  }

  #label() {
    const { epsilon, temperature } = this.#odin;
    byId("details-epsilon-value").textContent =
      epsilon > 0 ? `${epsilon.toFixed(4)} (${(255 * epsilon).toFixed(2)} of 255 levels)` : "0 (no perturbation)";
    byId("details-temperature-value").textContent = String(temperature);
    // The slider itself goes by the logarithm.
    byId("details-temperature").setAttribute("aria-valuetext", String(temperature));
    byId("details-reset").disabled = same(this.#odin, this.#manifest.odin);
    byId("details-apply").disabled = same(this.#odin, this.#scorer.odin);
  }

  #sentence() {
    const set = this.#set, kind = verdict(this.#scorer, set, this.#index);
    const name = className(this.#scorer, set, this.#index);
    const badge = el("span", { class: "badge", "data-verdict": kind }, VERDICTS[kind]);
    const value = set.scored[this.#index] ? set.scores.eloc[this.#index].toFixed(6) : null, words = scoreText(this.#scorer, set, this.#index);
    const score = value === null ? "" : ` Score ${value}${words === value ? "" : `, ${words}`}.`;
    const guess = name ? ` The networks' best guess is ${name} (${percent(set.probabilities[this.#index])} %).` : "";
    byId("details-verdict").replaceChildren(badge, `${guess}${score}`);
  }

  async #explain() {
    // The sliders' delay may end after the panel was closed.
    if (!this.#set) return;
    this.#asked = this.#scorer.ensemble.loaded;
    const mine = ++this.#wanted;
    const wanted = () => mine === this.#wanted;
    this.#panel.setAttribute("aria-busy", "true");
    const odin = this.#odin;
    try {
      const answers = await this.#scorer.explain(this.#set.pixels(this.#index).slice(), odin, wanted);
      if (!answers?.length) return;
      const outputs = answers.map(({ fold, logits, perturbed }) => ({ fold, logits, perturbed }));
      const [{ scores, foldScores }, classes] = await Promise.all([
        this.#analyst.ask("scores", { outputs, temperature: odin.temperature }),
        this.#analyst.ask("probabilities", { outputs }),
      ]);
      if (!wanted()) return;
      this.#answers = answers;
      delete this.#panel.dataset.stale;
      this.#folds(foldScores, odin);
      this.#classes(classes);
      this.#scores(scores, odin);
      this.#maps();
      byId("details-problem").textContent = "";
      this.#panel.setAttribute("aria-busy", "false");
    } catch (error) {
      if (!wanted()) return;
      byId("details-problem").textContent = `This image could not be explained. ${error.message}`;
      this.#panel.setAttribute("aria-busy", "false");
    }
  }

  #folds(foldScores, odin) {
    const { folds, classes } = this.#manifest;
    const above = foldScores.map(([score], i) => score - leastScore([folds[i]]));
    const most = Math.max(...above, 1e-12);
    const rows = above.map((value, i) => {
      const { kept, left_out: leftOut, number } = folds[i];
      const logits = this.#answers[i].logits;
      const guess = classes[kept[logits.indexOf(Math.max(...logits))]];
      const names = leftOut.map((c) => classes[c]);
      const more = names.length > NAMES + 1 ? [`${names.length - NAMES} more`] : [];
      return [String(number), listed([...names.slice(0, more.length ? NAMES : names.length), ...more]), guess, bar(value / most, scaled(value))];
    });
    byId("details-folds").replaceChildren(table(
      `Score of each fold above its least possible value${odin.temperature > 20 ? ", times 1000" : ""}`,
      ["Fold", "Never saw", "Takes it for", "Score"], rows));
    const choice = byId("details-fold"), before = choice.value;
    choice.replaceChildren(el("option", { value: "all" }, "All folds"),
      ...rows.map(([number]) => el("option", { value: number }, `Fold ${number}`)));
    choice.value = [...choice.options].some(({ value }) => value === before) ? before : "all";

    function scaled(value) { return odin.temperature > 20 ? (1000 * value).toFixed(4) : value.toFixed(4); }
  }

  #classes({ before, after }) {
    const order = [...before.keys()].sort((a, b) => before[b] - before[a]).slice(0, BARS);
    const rows = order.map((c) => [this.#manifest.classes[c], bar(before[c], percent(before[c])), bar(after[c], percent(after[c]))]);
    byId("details-classes").replaceChildren(
      table(`Mean class probabilities, in percent${this.#ceiling()}`, ["Class", "Image as it is", "After the perturbation"], rows));
  }

  /** The most that a class can have: a fold gives 0 to those that it never saw. */
  #ceiling() {
    const folds = this.#answers.map(({ fold }) => this.#manifest.folds.find(({ number }) => number === fold));
    const most = Math.max(...this.#manifest.classes.map((_, c) => folds.filter(({ kept }) => kept.includes(c)).length)) / folds.length;
    return most < 1 ? `; ${percent(most)} at most, since no class is known to all folds` : "";
  }

  #scores(scores, odin) {
    const rows = this.#scorer.scoreNames.map(({ id, label }) => [label, el("span", { "data-score": id }, scores[id][0].toPrecision(8))]);
    byId("details-scores").replaceChildren(table("All scores of this image; higher is more like the training images", ["Score", "Value"], rows));
    const eloc = scores.eloc[0];
    const complete = this.#answers.length === this.#manifest.folds.length;
    const times = complete && same(odin, this.#manifest.odin) ? timesThreshold(this.#scorer, eloc) : null;
    byId("details-live").textContent = `ELOC score with these settings: ${eloc.toFixed(6)}` +
      (times === null ? "." : `, ${times.toFixed(2)} × threshold.`);
    byId("details-live").dataset.score = eloc;
  }

  /** The perturbation and the size of the gradient, of one fold or the mean of all. */
  #maps() {
    if (!this.#answers) return;
    const chosen = byId("details-fold").value;
    const answers = chosen === "all" ? this.#answers : this.#answers.filter(({ fold }) => String(fold) === chosen);
    const step = new Float32Array(3072), size = new Float32Array(1024);
    for (const answer of answers) {
      const largest = answer.gradient.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-30);
      for (let i = 0; i < 3072; i++) {
        step[i] += answer.step[i] / answers.length;
        // Folds count alike, however steep they are.
        size[i % 1024] += Math.abs(answer.gradient[i]) / largest / answers.length;
      }
    }
    const epsilon = this.#odin.epsilon || 1;
    paint(byId("details-step"), step.map((value) => 127.5 + (127.5 * value) / epsilon));
    const most = size.reduce((a, b) => Math.max(a, b), 1e-30);
    const light = size.map((value) => 255 * Math.sqrt(value / most));
    const glow = new Float32Array(3072);
    for (let i = 0; i < 1024; i++) {
      glow[i] = Math.min(255, 1.6 * light[i]);
      glow[1024 + i] = 0.9 * light[i];
      glow[2048 + i] = 40 + 0.35 * light[i];
    }
    paint(byId("details-gradient"), glow);
  }
}

/** A number with a bar of `fraction` behind it. */
function bar(fraction, text) {
  const fill = el("span", { class: "bar-fill", "aria-hidden": "true" });
  fill.style.width = `${Math.max(0, Math.min(1, fraction)) * 100}%`;
  return el("span", { class: "bar" }, fill, el("span", { class: "bar-text" }, text));
}

function same(a, b) { return ["temperature", "epsilon", "gradient"].every((name) => a[name] === b[name]); }
