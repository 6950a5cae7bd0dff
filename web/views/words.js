// Numbers and lists in words.

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
