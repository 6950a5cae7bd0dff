// The worst mistakes at a threshold: the images of each side that lie farthest on the wrong side of it.
import { lowestFirst } from "../engine/study.js";
import { fillCard, newCard } from "./card.js";
import { byId } from "./dom.js";

const WORST = 12;

/** The pictures below the plots; only studies of images have some. */
export class Mistakes {
  #scorer;
  #open;
  #state = "";

  /** @param {(set, index: number) => void} open is called with the image that is chosen */
  constructor(scorer, open) { [this.#scorer, this.#open] = [scorer, open]; }

  /** What may be shown of two sets at any threshold. */
  static of(idSet, oodSet, size, score) {
    return [
      { side: "id", set: idSet, worst: lowestFirst(idSet, size.id, score).slice(0, WORST) },
      { side: "ood", set: oodSet, worst: lowestFirst(oodSet, size.ood, score).slice(-WORST).reverse() },
    ];
  }

  /** @param {{ mistakes?: ReturnType<typeof Mistakes.of> }} study */
  show({ mistakes }, threshold) {
    byId("mistakes").hidden = !mistakes;
    if (!mistakes) return;
    const wrong = mistakes.map(({ side, set, worst }) =>
      ({ side, set, images: worst.filter(({ value }) => (value >= threshold) === (side === "ood")) }));
    // The same pictures are left alone, with the focus that one of them may have.
    const state = JSON.stringify(wrong.map(({ set, images }) => [set.generation, images]));
    if (state === this.#state) return;
    this.#state = state;
    for (const { side, set, images } of wrong) {
      byId(`worst-${side}-none`).hidden = images.length > 0;
      byId(`worst-${side}`).replaceChildren(...images.map(({ index, value }) => {
        const card = newCard(() => this.#open(set, index));
        fillCard(card, this.#scorer, set, index);
        // The verdict is by another threshold, and perhaps another score.
        card.querySelector(".badge").remove();
        card.querySelector(".card-score").textContent = value.toPrecision(6);
        return card;
      }));
    }
  }
}
