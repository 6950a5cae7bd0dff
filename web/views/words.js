// Numbers, names and lists in words.

/** Characters that break lines, turn the direction of what follows, or are no text in XML. */
const UNRULY = /[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff]/gu;
const SHORT = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };

/** A text that may have names of files in it, with what would break a layout or a table written out, as on the command line. */
export const oneLine = (text) => text.replace(UNRULY, (sign) => SHORT[sign] ?? `\\u{${sign.codePointAt(0).toString(16)}}`);

/** A value as JSON, of the same meaning, in which such characters are escaped. */
export const json = (value) => JSON.stringify(value, null, 1).split("\n")
  .map((line) => line.replace(UNRULY, (sign) => `\\u${sign.codePointAt(0).toString(16).padStart(4, "0")}`)).join("\n");

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
