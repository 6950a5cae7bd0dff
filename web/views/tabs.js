// The tabs: one panel at a time, which the address names.
import { byId } from "./dom.js";
import { settings } from "./settings.js";

const TABS = ["score", "evaluate", "device"];

/** Binds the tabs; `shown` is called whenever another panel is seen. */
export function setUpTabs(shown) {
  const show = () => {
    for (const name of TABS) {
      const chosen = settings.get("tab") === name;
      byId(`panel-${name}`).hidden = !chosen;
      byId(`tab-${name}`).setAttribute("aria-selected", String(chosen));
      byId(`tab-${name}`).tabIndex = chosen ? 0 : -1;
    }
    shown();
  };
  for (const [i, name] of TABS.entries()) {
    byId(`tab-${name}`).addEventListener("click", () => settings.set({ tab: name }));
    byId(`tab-${name}`).addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (!step) return;
      const next = TABS[(i + step + TABS.length) % TABS.length];
      settings.set({ tab: next });
      byId(`tab-${next}`).focus();
    });
  }
  settings.addEventListener("change", ({ detail }) => detail.names.includes("tab") && show());
  show();
}
