// Which images go through which network next.

/** With all folds here, this many images go through all of them before the next ones begin: verdicts come early. */
const BLOCK = 512;
/** Workers that share the images get so many at least: fewer are not worth a question. */
const SHARE = 4;

/**
 * The next images that stand at the same fold and that no worker has in hand, of the set that is furthest behind.
 * @param {import("./imageset.js").ImageSet[]} sets
 * @param {{ loaded: number, complete: boolean }} ensemble
 * @param {number} size the most images
 * @param {number} workers among which what is left is shared
 * @returns {{ set: import("./imageset.js").ImageSet, start: number, count: number, position: number } | null}
 *   position is the fold's in the ensemble; null where nothing is to be done
 */
export function nextRun(sets, { loaded, complete }, size, workers = 1) {
  const behind = furthestBehind(sets, loaded);
  if (!behind) return null;
  const { set, first } = behind;
  // While folds are still on their way, each one that is here goes over everything; later it goes block by block.
  const from = complete ? Math.floor(first / BLOCK) * BLOCK : 0;
  const to = complete ? Math.min(set.count, from + BLOCK) : set.count;
  let position = loaded, start = first, waiting = 0;
  for (let i = from; i < to; i++) {
    if (set.taken[i] || set.done[i] >= loaded || set.done[i] > position) continue;
    if (set.done[i] < position) [position, start, waiting] = [set.done[i], i, 0];
    waiting += 1;
  }
  const most = Math.min(size, Math.max(SHARE, Math.ceil(waiting / workers)));
  let end = start;
  while (end < to && end - start < most && set.done[end] === position && !set.taken[end]) end += 1;
  return { set, start, count: end - start, position };
}

/** The set of which the smallest part is done by `loaded` folds or in hand, and its first image that is not. */
function furthestBehind(sets, loaded) {
  let best = null;
  for (const set of sets) {
    const first = set.done.subarray(0, set.count).findIndex((done, i) => done < loaded && !set.taken[i]);
    if (first >= 0 && (!best || first / set.count < best.first / best.set.count)) best = { set, first };
  }
  return best;
}
