// A card: one image with its verdict, class and score.
import { el, paint, write } from "./dom.js";
import { VERDICTS, className, scoreText, verdict } from "./verdict.js";

/** A card without content; `open` is called when it is chosen. */
export function newCard(open) {
  return el("div", { class: "card", role: "listitem" },
    el("button", { type: "button", class: "card-button", onclick: open },
      el("canvas", { width: 32, height: 32, "aria-hidden": "true" }),
      el("span", { class: "badge" }), el("span", { class: "card-class" }), el("span", { class: "card-score" }),
      el("span", { class: "card-label" })));
}

/** Writes image `index` of `set` into a card; what has not changed is left alone. */
export function fillCard(card, scorer, set, index) {
  const kind = verdict(scorer, set, index);
  const picture = `${set.generation}|${index}`;
  const state = [picture, set.scored[index], kind, set.scores.eloc?.[index]].join("|");
  if (card.dataset.filled === state) return;
  const [canvas, badge, classLine, scoreLine, label] = card.firstChild.children;
  if (card.dataset.picture !== picture) paint(canvas, set.pixels(index));
  Object.assign(card.dataset, { filled: state, picture, index, verdict: kind, folds: set.scored[index] });
  if (set.scored[index] > 0) card.dataset.score = set.scores.eloc[index];
  else delete card.dataset.score;
  badge.textContent = VERDICTS[kind];
  const name = className(scorer, set, index);
  write(classLine, name ? `${name} ${Math.round(100 * set.probabilities[index])} %` : "");
  scoreLine.textContent = scoreText(scorer, set, index);
  write(label, set.labels[index]);
  label.title = label.textContent;
}
