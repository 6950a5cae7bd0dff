// The page's settings, kept in the address after the #, so that a link brings them back.

/** The detector's settings, which a manifest has values of. */
export const ODIN = ["temperature", "epsilon", "gradient"];

/** What holds where the address is silent; null stands for the manifest's own value. */
const DEFAULTS = {
  weights: null, epsilon: null, temperature: null, gradient: null,
  definition: "standard", tab: "score", sort: "added",
  // The evaluator's; null stands for the first set and score, and no other score beside it.
  set: null, score: null, baseline: null,
};

/** Largest epsilon offered, in units of the 0..1 pixel range; five times the published 0.002. */
const EPSILON_MAX = 0.01;
/** Largest temperature offered; the smallest is 1. */
const TEMPERATURE_MAX = 10_000;

const VALID = {
  weights: (text) => (/^[\w.-]+$/.test(text) ? text : undefined),
  epsilon: (text) => number(text, 0, EPSILON_MAX),
  temperature: (text) => number(text, 1, TEMPERATURE_MAX),
  gradient: (text) => (["cross-entropy", "entropy"].includes(text) ? text : undefined),
  definition: (text) => (["standard", "reference", "openood"].includes(text) ? text : undefined),
  tab: (text) => (["score", "evaluate", "device"].includes(text) ? text : undefined),
  set: name, score: name, baseline: name,
  sort: (text) => (/^(added|score|name|class|verdict)(-down)?$/.test(text) ? text : undefined),
};

/** Emits "change" with detail { names }: what changed. */
class Settings extends EventTarget {
  #values = { ...DEFAULTS };

  constructor() {
    super();
    this.#read();
    addEventListener("hashchange", () => this.#announce(this.#read()));
  }

  get(name) { return this.#values[name]; }

  /** Changes some settings, and the address with them. */
  set(values) {
    const names = this.#merge({ ...this.#values, ...values });
    if (names.length === 0) return;
    const hash = new URLSearchParams();
    for (const [name, value] of Object.entries(this.#values)) {
      if (value !== DEFAULTS[name]) hash.set(name, value);
    }
    const text = hash.toString();
    try {
      history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
    } catch {
      // Some browsers refuse the hundredth change of the address in half a minute; the setting holds without.
    }
    this.#announce(names);
  }

  /** What is chosen of some options, by its id: the first one, where the address names none of them. */
  chosen(name, options) {
    const id = this.get(name);
    return options.some((option) => option.id === id) ? id : options[0]?.id;
  }

  /** The detector's settings: the manifest's, where nobody chose others. */
  odin(manifest) {
    const { temperature, epsilon, gradient } = manifest.odin;
    return {
      temperature: this.get("temperature") ?? temperature,
      epsilon: this.get("epsilon") ?? epsilon,
      gradient: this.get("gradient") ?? gradient,
    };
  }

  /** Sets the detector's settings; a value that is the manifest's own leaves the address. */
  setOdin(odin, manifest) {
    const changed = {};
    for (const name of ODIN) {
      changed[name] = odin[name] === manifest.odin[name] ? null : odin[name];
    }
    this.set(changed);
  }

  #read() {
    const hash = new URLSearchParams(location.hash.slice(1));
    const values = { ...DEFAULTS };
    for (const [name, text] of hash) {
      const value = VALID[name]?.(text);
      if (value !== undefined) values[name] = value;
    }
    return this.#merge(values);
  }

  #merge(values) {
    const names = Object.keys(DEFAULTS).filter((name) => values[name] !== this.#values[name]);
    this.#values = values;
    return names;
  }

  #announce(names) {
    if (names.length) this.dispatchEvent(new CustomEvent("change", { detail: { names } }));
  }
}

export const settings = new Settings();

function number(text, low, high) {
  const value = Number(text);
  return text !== "" && value >= low && value <= high ? value : undefined;
}

/** A name that is only ever looked for. */
function name(text) { return text.length <= 200 ? text : undefined; }
