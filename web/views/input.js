// The ways in for files: pickers, drops, and the clipboard.
import { clipboardItems, droppedItems, pastedItems, pickedItems } from "../engine/files.js";
import { byId } from "./dom.js";
import { notice, problem } from "./messages.js";

/** A large folder takes seconds to look through, which is said after so long. */
const LOOKING_MS = 500;

/**
 * Binds all of them.
 * @typedef {import("../engine/files.js").Item[]} Items
 * @param {{ gallery: (items: Items) => void, side: (side: "id" | "ood", items: Items) => void, elsewhere: (items: Items) => void }} take
 *   elsewhere: dropped beside the places for it
 */
export function setUpInput(take) {
  setUpPicker(byId("pick-files"), "files", take.gallery);
  setUpPicker(byId("pick-folder"), "folder", take.gallery);
  for (const button of document.querySelectorAll("[data-pick]")) {
    const input = button.dataset.pick;
    setUpPicker(button, input, (items) => take.side(input.split("-")[0], items));
  }
  // The whole window: the page may be shorter.
  setUpDrop(document.documentElement, take.elsewhere);
  setUpDrop(byId("id-drop"), (items) => take.side("id", items));
  setUpDrop(byId("ood-drop"), (items) => take.side("ood", items));
  setUpClipboard(take.gallery);
}

function setUpPicker(button, input, take) {
  button.addEventListener("click", () => byId(input).click());
  byId(input).addEventListener("change", () => {
    take(pickedItems(byId(input)));
    byId(input).value = "";
  });
}

/** Lets `target` take drops; the innermost target under the mouse does. */
function setUpDrop(target, take) {
  const over = (event, on) => {
    event.preventDefault();
    event.stopPropagation();
    target.classList.toggle("dragged", on);
  };
  target.addEventListener("dragover", (event) => over(event, true));
  target.addEventListener("dragleave", (event) => over(event, false));
  target.addEventListener("drop", async (event) => {
    over(event, false);
    let looking = null;
    const soon = setTimeout(() => { looking = notice("Looking for files in what was dropped.", "info"); }, LOOKING_MS);
    try {
      const items = await droppedItems(event.dataTransfer, problem);
      if (items.length) take(items);
      else notice("Expected files to be dropped, found none.", "error");
    } catch (error) {
      notice(`What was dropped cannot be read. ${error.message}`, "error");
    } finally {
      clearTimeout(soon);
      looking?.remove();
    }
  });
}

function setUpClipboard(take) {
  addEventListener("paste", (event) => {
    const items = pastedItems(event.clipboardData);
    if (items.length) take(items);
  });
  byId("paste").addEventListener("click", async () => {
    try {
      const items = await clipboardItems();
      if (items.length) take(items);
      else notice("There is no image in the clipboard.", "info");
    } catch {
      notice("This browser does not let a button read the clipboard. Press Ctrl+V (on a Mac, Command+V) instead.", "info");
    }
  });
}
