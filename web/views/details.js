// The details of one image: a panel that shows what the folds say about it, and how the perturbation's settings change that.
import { byId, debounced, el, paint, write } from "./dom.js";
import { showClasses, showFolds, showMaps, showScores } from "./explanation.js";
import { ODIN, settings } from "./settings.js";
import { VERDICTS, className, scoreText, timesText, timesThreshold, verdict } from "./verdict.js";
import { percent } from "./words.js";

/** As in style.css: up to this width the panel covers the page. */
const COVERING = matchMedia("(max-width: 999px)");
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
    write(byId("details-name"), set.labels[index]);
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
    const score = value === null ? "" : ` Score ${value}${words === value ? "" : ` (on the cards ${words})`}.`;
    const guess = name ? ` The networks' best guess is ${name} (${percent(set.probabilities[this.#index])} %).` : "";
    byId("details-verdict").replaceChildren(badge, el("span", {}, `${guess}${score}`));
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
      showFolds(this.#manifest, answers, foldScores, odin);
      showClasses(this.#manifest, classes);
      showScores(this.#scorer.scoreNames, scores);
      this.#live(scores.eloc[0], odin);
      this.#maps();
      byId("details-problem").textContent = "";
      this.#panel.setAttribute("aria-busy", "false");
    } catch (error) {
      if (!wanted()) return;
      byId("details-problem").textContent = `This image could not be explained. ${error.message}`;
      this.#panel.setAttribute("aria-busy", "false");
    }
  }

  /** The score by the present settings of the sliders. */
  #live(eloc, odin) {
    const complete = this.#answers.length === this.#manifest.folds.length;
    const times = complete && same(odin, this.#manifest.odin) ? timesThreshold(this.#scorer, eloc) : null;
    byId("details-live").textContent = `ELOC score with these settings: ${eloc.toFixed(6)}` +
      (times === null ? "." : ` (on the cards ${timesText(times)}, known from 1).`);
    byId("details-live").dataset.score = eloc;
  }

  #maps() {
    if (!this.#answers) return;
    const chosen = byId("details-fold").value;
    const answers = chosen === "all" ? this.#answers : this.#answers.filter(({ fold }) => String(fold) === chosen);
    showMaps(answers, this.#odin.epsilon);
  }
}

function same(a, b) { return ODIN.every((name) => a[name] === b[name]); }
