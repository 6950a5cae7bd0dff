// The form of the settings: takes what the visitor chooses to the address, and shows what holds.
import { byId, misfit } from "./dom.js";
import { notice } from "./messages.js";
import { ODIN, settings } from "./settings.js";

/** Binds the fields. */
export function setUpSettings(scorer) {
  byId("backend").addEventListener("input", () =>
    scorer.setBackend(byId("backend").value).catch((error) => notice(error.message, "error")));
  for (const name of ODIN) {
    byId(name).addEventListener("change", () => {
      const wrong = misfit(byId(name));
      if (wrong) notice(wrong, "error");
      if (!scorer.ensemble || wrong) return showSettings(scorer);
      const value = name === "gradient" ? byId(name).value : Number(byId(name).value);
      settings.setOdin({ ...scorer.odin, [name]: value }, scorer.ensemble.manifest);
    });
  }
  byId("definition").addEventListener("input", () => settings.set({ definition: byId("definition").value }));
  byId("settings-reset").addEventListener("click", () => {
    settings.set({ epsilon: null, temperature: null, gradient: null, definition: "standard" });
  });
}

/** Shows the settings that hold. */
export function showSettings(scorer) {
  byId("definition").value = settings.get("definition");
  if (!scorer.ensemble) return;
  for (const name of ODIN) byId(name).value = scorer.odin[name];
}
