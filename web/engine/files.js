// What was dropped, picked or pasted, as files: all of them in the command line's order, or those that are asked for.

/** Folders below a dropped one, and what they may hold together: far more than the page takes, and an end of every walk. */
const DEPTH_MAX = 64, ENTRIES_MAX = 500_000;

/** Names need not be text; Chromium hands out an entry without a name then, which leads back to the folder that it lies in. */
const UNNAMED = {
  label: "(a name that is no text)",
  reason: "The browser cannot open what has a name of other bytes than text (UTF-8). Rename it, or put it into an archive.",
};

const IMAGE = /\.(png|jpe?g|jfif|webp|bmp|gif)$/i, ARCHIVE = /\.(zip|tar|tgz|gz)$/i;

/**
 * One thing that was dropped, picked or pasted.
 * @typedef {{ name: string, files: { file: File, path: string }[] }} Item
 */

/**
 * The files of a drop: a folder is one item, and so is each file.
 * @param {DataTransfer} transfer
 * @param {(path: string, reason: string) => void} problem is told what cannot be opened
 * @returns {Promise<Item[]>}
 */
export async function droppedItems(transfer, problem) {
  // The entries must be taken before the first wait: afterwards the browser empties the list.
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  const items = [];
  for (const entry of entries) {
    if (!entry?.name) problem(UNNAMED.label, UNNAMED.reason);
    else if (entry instanceof File) items.push({ name: entry.name, files: [{ file: entry, path: entry.name }] });
    else items.push({ name: entry.name, files: sorted(await filesBelow(entry, problem)) });
  }
  return items;
}

/** The files of a picker; those of a folder picker belong together. @returns {Item[]} */
export function pickedItems(input) {
  const files = [...input.files];
  const folder = files[0]?.webkitRelativePath?.split("/")[0];
  if (folder) return [{ name: folder, files: sorted(files.map((file) => ({ file, path: file.webkitRelativePath }))) }];
  return files.map((file) => ({ name: file.name, files: [{ file, path: file.name }] }));
}

/** The images and files of a paste event. @returns {Item[]} */
export function pastedItems(transfer) {
  return [...transfer.files].map((file) => ({ name: file.name, files: [{ file, path: file.name || "pasted image" }] }));
}

/** The image in the clipboard, where the browser lets a button read it. @returns {Promise<Item[]>} */
export async function clipboardItems() {
  const items = [];
  for (const content of await navigator.clipboard.read()) {
    const type = content.types.find((candidate) => candidate.startsWith("image/"));
    if (type) items.push({ name: "pasted image", files: [{ file: await content.getType(type), path: "pasted image" }] });
  }
  return items;
}

/** Whether an item is one image, and not a folder or an archive. @param {Item} item */
export const isImage = ({ name, files }) => files.length === 1 && IMAGE.test(name);

export const isArchive = ({ path }) => ARCHIVE.test(path);

/** Those of a folder that are named as images, as the command line takes them; where there is none, all: an archive, say. */
export function imagesOf(files) {
  const named = files.filter(({ path }) => IMAGE.test(path));
  return named.length > 0 ? named : files;
}

/** At most `limit` of `files`, from all over, since those of a folder come class by class; of known ones the command line takes the same. */
export function sampled(files, limit) {
  if (files.length <= limit) return files;
  return Array.from({ length: limit }, (_, i) => files[Math.floor((i * files.length) / limit)]);
}

/** The files of a folder of classes by class, then by name, as the command line reads them; by path "a-b/" comes before "a/". */
export function byClass(files) {
  const parts = ({ path }) => {
    const [, folder, ...rest] = path.split("/");
    return rest.length > 0 ? [folder, rest.join("/")] : ["", path];
  };
  return files.map((file) => ({ file, parts: parts(file) }))
    .sort((a, b) => compare(a.parts[0], b.parts[0]) || compare(a.parts[1], b.parts[1])).map(({ file }) => file);
}

/**
 * All files of a dropped file or folder. Whatever the browser says of it, the walk ends: what is without a name may be the folder
 * itself once more, and a folder may contain itself.
 * @param {FileSystemEntry} top
 * @param {(path: string, reason: string) => void} problem
 */
export async function filesBelow(top, problem) {
  const files = [], folders = [];
  let met = 0;
  const take = async ({ entry, path, depth, parent }) => {
    const { name, fullPath } = entry;
    const leadsBack = [".", ".."].includes(name) || parent !== undefined && fullPath === parent.fullPath;
    if (!name || leadsBack) return problem(path, UNNAMED.reason);
    if (entry.isDirectory && depth > DEPTH_MAX) return problem(path, `Only ${DEPTH_MAX} folders within each other are opened.`);
    if (entry.isDirectory) return folders.push({ entry, path, depth });
    try {
      files.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path });
    } catch (error) {
      problem(path, error.message);
    }
  };
  await take({ entry: top, path: top.name, depth: 0 });
  while (folders.length > 0) {
    const folder = folders.pop();
    const below = (entry) =>
      ({ entry, path: `${folder.path}/${entry.name || UNNAMED.label}`, depth: folder.depth + 1, parent: folder.entry });
    try {
      for await (const entries of batches(folder.entry)) {
        met += entries.length;
        if (met > ENTRIES_MAX) {
          problem(top.name, `More than ${ENTRIES_MAX.toLocaleString("en-US")} files and folders; the rest was left out.`);
          return files;
        }
        await Promise.all(entries.map((entry) => take(below(entry))));
      }
    } catch (error) {
      problem(folder.path, error.message);
    }
  }
  return files;
}

/** What lies in a folder: browsers hand out at most 100 entries a call, and an empty answer is the end. */
async function* batches(folder) {
  const reader = folder.createReader();
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return;
    yield entries;
  }
}

/** By path and without hidden files, as the command line reads a folder. */
function sorted(files) {
  const hidden = ({ path }) => path.split("/").slice(1).some((part) => part.startsWith(".") || part === "__MACOSX");
  return files.filter((file) => !hidden(file)).sort((a, b) => compare(a.path, b.path));
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
