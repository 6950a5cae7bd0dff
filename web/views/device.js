// This device: the self-test against the command line's scores, and a report to copy.
import { selfTest } from "../engine/selftest.js";
import { byId, el, onClick, table } from "./dom.js";
import { notice } from "./messages.js";
import { oneLine } from "./words.js";

let lastTest = null;

/** Binds the buttons of the panel. */
export function setUpDevice(scorer, analyst, getSelfTest) {
  onClick(byId("self-test"), async () => {
    byId("self-test-result").dataset.result = "running";
    byId("self-test-result").textContent = "The golden images are being scored.";
    try {
      lastTest = await selfTest(scorer, analyst, getSelfTest());
      showTest(lastTest);
    } catch (error) {
      byId("self-test-result").dataset.result = "error";
      byId("self-test-result").textContent = `The self-test could not run. ${error.message}`;
    }
    showReport(scorer);
  });
  byId("copy-report").addEventListener("click", async () => {
    showReport(scorer);
    try {
      await navigator.clipboard.writeText(byId("report").textContent);
      notice("The report is in the clipboard.", "info");
    } catch {
      getSelection().selectAllChildren(byId("report"));
      notice("The browser does not let this page write to the clipboard. The report is selected: copy it with Ctrl+C.", "warning");
    }
  });
}

function showTest({ passed, images, backend, largest, jumps, expected, got }) {
  const place = byId("self-test-result");
  Object.assign(place.dataset, { result: passed ? "pass" : "fail", largest });
  const sentence = passed
    ? `Passed on ${backend === "cpu" ? "the CPU" : "WebGPU"}. ${images} golden images score as on the command line; the largest difference is ${largest.toExponential(2)}.` +
      (jumps ? ` ${jumps} of them differ by more than rounding does, as happens where two values are nearly equal.` : "")
    : `Failed. The largest difference is ${largest.toExponential(2)}: scores of this backend (${backend}) cannot be trusted.` +
      (backend === "webgpu" ? " Choose the CPU under Settings." : "");
  place.replaceChildren(el("p", { class: passed ? "good" : "bad" }, sentence), el("details", {}, el("summary", {}, "All golden images"),
    table("Scores", ["Image", "Command line", "This device", "Difference"], expected.map((score, i) =>
      [String(i + 1), score.toFixed(9), got[i].toFixed(9), Math.abs(got[i] - score).toExponential(2)]))));
}

/** Writes the report anew; cheap enough to do whenever the panel is seen. */
export function showReport(scorer) {
  const mark = (name) => performance.getEntriesByName(`eloc:${name}`)[0]?.startTime.toFixed(0) ?? "not yet";
  const { adapter, backend, stages, workers } = scorer;
  const lines = [
    `eloc ${scorer.version}`, `browser: ${navigator.userAgent}`, `backend: ${backend}`,
    `program: ${scorer.program}`, `workers: ${workers.count}, ${workers.bytes ? `${Math.ceil(workers.bytes / 2 ** 20)} MiB each` : "nothing scored yet"}`,
    `weights: ${scorer.ensemble?.name ?? "none"}, ${scorer.ensemble?.loaded ?? 0} folds`,
    `settings: ${JSON.stringify(scorer.odin)}`,
    "", "milliseconds since the page was opened", `  first fold ready: ${mark("ready")}`, `  all folds loaded: ${mark("loaded")}`, `  first score: ${mark("first-score")}`,
    "", "milliseconds per stage",
    ...Object.entries(stages).map(([name, value]) => typeof value === "number"
      ? `  ${name}: ${value.toFixed(1)}`
      : `  ${name}: ${value.calls ? value.ms.toFixed(1) : "not measured"} (${value.calls} calls after the first, ${value.dispatches} dispatches each, ${value.pipelines} pipelines by then)`),
    "", lastTest ? `self-test on ${lastTest.backend}: ${lastTest.passed ? "passed" : "failed"}, ${lastTest.images} images, largest difference ${lastTest.largest.toExponential(3)}` : "self-test: not run",
  ];
  if (adapter) {
    lines.push("", `adapter: vendor ${adapter.vendor || "unknown"}, architecture ${adapter.architecture || "unknown"}, device ${adapter.device || "unknown"}, ${adapter.description || "no description"}`,
      `features: ${adapter.features.join(", ")}`, "limits", ...Object.entries(adapter.limits).map(([name, value]) => `  ${name}: ${value}`));
  }
  const text = lines.map(oneLine).join("\n");
  // The visitor may have selected some of it.
  if (byId("report").textContent !== text) byId("report").textContent = text;
}
