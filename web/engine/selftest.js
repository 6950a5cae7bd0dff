// Whether this device computes what the command line did.

/**
 * Scores of a device may differ by this much, as a fraction of the golden scores' range: sums in another order change a logit in
 * its seventh digit. Now and then that decides which of two positions is the larger, so that a fold's gradient takes another
 * way: of so many images the score may jump. A wrong kernel moves nearly all of them.
 */
const TOLERANCE = 1e-4, JUMP = { size: 0.01, share: 0.1 };

/**
 * Scores the ensemble's golden images on this device, once all folds are here.
 * @param {{ images: Uint8Array, scores: Float64Array, odin: object } | null} golden
 * @returns {Promise<{ passed: boolean, images: number, backend: string, largest: number, jumps: number, expected: number[], got: number[] }>}
 *   largest: the largest difference; jumps: how many differ by more than rounding does
 */
export async function selfTest(scorer, analyst, golden) {
  const { ensemble } = scorer;
  if (!golden || !ensemble) throw new Error("These weights carry no golden images.");
  while (scorer.ensemble === ensemble && !ensemble.complete && !ensemble.stuck) await new Promise((done) => setTimeout(done, 100));
  if (scorer.ensemble !== ensemble) throw new Error("Other networks were chosen in the meantime.");
  if (ensemble.stuck) throw new Error("Not all folds could be loaded.");
  const outputs = await scorer.outputs(golden.images, golden.odin);
  const { scores } = await analyst.ask("scores", { outputs, temperature: golden.odin.temperature });
  const range = Math.max(...golden.scores) - Math.min(...golden.scores);
  const differences = [...scores.eloc].map((score, i) => Math.abs(score - golden.scores[i]));
  const images = differences.length, largest = Math.max(...differences);
  const jumps = differences.filter((difference) => !(difference <= TOLERANCE * range)).length;
  return {
    images, backend: scorer.backend, largest, jumps,
    passed: jumps <= JUMP.share * images && largest <= JUMP.size * range, expected: [...golden.scores], got: [...scores.eloc],
  };
}
