// Which images go through which network next.

/** With all folds here, this many images go through all of them before the next ones begin: verdicts come early. */
const BLOCK = 512;

/**
 * The next images that stand at the same fold, of the set that is furthest behind.
 * @param {import("./imageset.js").ImageSet[]} sets
 * @param {{ loaded: number, complete: boolean }} ensemble
 * @param {number} size the most images
 * @returns {{ set: import("./imageset.js").ImageSet, start: number, count: number, position: number } | null}
 *   position is the fold's in the ensemble; null where nothing is to be done
 */
export function nextRun(sets, { loaded, complete }, size) {
  const behind = furthestBehind(sets, loaded);
  if (!behind) return null;
  const { set, first } = behind;
  // While folds are still on their way, each one that is here goes over everything; later it goes block by block.
  const from = complete ? Math.floor(first / BLOCK) * BLOCK : 0;
  const to = complete ? Math.min(set.count, from + BLOCK) : set.count;
  const seen = set.done.subarray(from, to);
  const position = seen.reduce((least, done) => Math.min(least, done), loaded);
  const start = from + seen.indexOf(position);
  let end = start;
  while (end < to && end - start < size && set.done[end] === position) end += 1;
  return { set, start, count: end - start, position };
}

/** The set of which the smallest part is done by `loaded` folds, and its first image that is not. */
function furthestBehind(sets, loaded) {
  let best = null;
  for (const set of sets) {
    const first = set.done.subarray(0, set.count).findIndex((done) => done < loaded);
    if (first >= 0 && (!best || first / set.count < best.first / best.set.count)) best = { set, first };
  }
  return best;
}
