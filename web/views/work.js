// The line of work: what is read and scored, how far that is, and the buttons to cancel it and to go on.
import { byId, throttled } from "./dom.js";
import { say } from "./messages.js";
import { duration, percent, plural, whole } from "./words.js";

const sayNowAndThen = throttled(() => say(byId("work-text").textContent), 15_000);

/** Binds the buttons; `changed` is called when one has done its work. */
export function setUpWork(scorer, importer, changed) {
  byId("cancel").addEventListener("click", () => {
    importer.stop();
    scorer.pause();
    changed();
  });
  byId("resume").addEventListener("click", () => {
    importer.resume();
    scorer.resume();
    changed();
  });
}

/** Whether the page has something in hand. */
export const isBusy = (scorer, importer) => scorer.busy || importer.progress !== null;

/** Shows the work as it is now. */
export function showWork(scorer, importer) {
  const progress = scorer.progress(), { done, wanted } = progress;
  const busy = isBusy(scorer, importer);
  const stopped = (scorer.paused || scorer.failure !== null) && done < wanted || importer.unread();
  const focused = [byId("cancel"), byId("resume")].includes(document.activeElement);
  byId("work").hidden = !(busy || stopped);
  byId("cancel").hidden = !busy;
  byId("resume").hidden = busy || !stopped;
  // The one that is hidden would lose the focus.
  if (focused) byId(busy ? "cancel" : stopped ? "resume" : "content").focus({ preventScroll: true });
  byId("work-progress").value = wanted ? done / wanted : 0;
  const sentences = inWords(progress, importer, busy, stopped);
  byId("work-text").textContent = sentences.join(" ");
  if (busy && sentences.length) sayNowAndThen();
}

function inWords({ done, wanted, imagesPerSecond, secondsLeft }, importer, busy, stopped) {
  const reading = importer.progress;
  const parts = [];
  if (reading) parts.push(`Reading file ${whole(reading.file)} of ${whole(reading.files)}, ${plural(reading.images, "image")} so far.`);
  if (wanted > 0) parts.push(`${percent(done / wanted)} % scored${stopped && !busy ? "; stopped" : ""}.`);
  if (importer.unread() && !busy) parts.push("Not everything is read yet.");
  if (imagesPerSecond && busy) parts.push(`${imagesPerSecond < 1 ? imagesPerSecond.toPrecision(2) : imagesPerSecond.toFixed(1)} images/s, ${duration(secondsLeft)} left.`);
  return parts;
}
