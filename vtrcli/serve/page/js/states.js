// What stands where results would be: what can be asked, an empty store, nothing found, an error in its three parts.

import { browse } from "./browse.js";
import { h } from "./dom.js";
import { count } from "./format.js";

const EXAMPLES = ["a man cooking", "a dog runs on a beach", "people shake hands", "a car at night"];
const DEMO_EXAMPLES = ["a red circle", "a blue square on a striped wall", "a green heart spins around", "two things meet"];
const DEMO_CHAIN = { q: "a red circle", then: ["a green arrow"] };
const CHAIN = { q: "a man opens a door", then: ["he sits down"] };

/** @typedef {Record<string, any>} Store a store's row of /api/health */

/**
 * @param {Store} store @param {(change: Record<string, any>) => void} ask
 * @param {(id: string, start: number, end: number | null) => void} onPlay
 */
export function start(store, ask, onPlay) {
  const isDemo = store.backbone === "demo";
  const chain = isDemo ? DEMO_CHAIN : CHAIN;
  const example = (/** @type {Record<string, any>} */ change, /** @type {string} */ text) =>
    h("button", { type: "button", class: "chip", onclick: () => ask(change) }, text);
  return [
    h("h1", {}, "Find the moment"),
    h("p", { class: "lead" }, `Say what is to be seen. ${count(store.num_videos, "video")} and ${count(store.num_frames, "frame")} are ready.`),
    h(
      "ul",
      { class: "examples", "aria-label": "Examples" },
      ...(isDemo ? DEMO_EXAMPLES : EXAMPLES).map((q) => h("li", {}, example({ q }, q))),
      h("li", {}, example(chain, `${chain.q} → ${chain.then[0]}`)),
    ),
    h(
      "p",
      { class: "quiet" },
      "A picture finds what looks like it: drop one here, paste it, or choose it at the right of the field.",
      h("span", { class: "with-keys" }, " ", h("kbd", {}, "?"), " shows the keys."),
    ),
    browse(/** @type {any} */ (store), onPlay),
  ];
}

/**
 * An old link, or a store that is served no more.
 * @param {string} name @param {Store[]} stores @param {(change: Record<string, any>) => void} ask
 */
export function unknownStore(name, stores, ask) {
  const known = (/** @type {Store} */ { name, num_videos }) => h("li", {}, h("button", { type: "button", class: "chip", onclick: () => ask({ store: name, open: "" }) }, `${name} · ${count(num_videos, "video")}`));
  return [
    h("h1", {}, "No such store here"),
    h("p", { class: "lead" }, `The link asks in “${name}”, a store that this server does not have. It has ${stores.length === 1 ? "this one" : "these"}:`),
    h("ul", { class: "examples", "aria-label": "Stores" }, ...stores.map(known)),
  ];
}

/** A store that waits for its first video is no error to who looks at it. @param {Store} store */
export const isEmpty = (store) => !store.num_videos && (!store.error || store.error.came_in.endsWith("holds no video yet"));

/** @param {Store} store */
export function emptyStore(store) {
  return [
    h("h1", {}, "No videos yet"),
    h("p", { class: "lead" }, "This store holds no video. This command fills it; the page notices by itself."),
    command(`vtr extract ~/Videos --store ${quoted(store.store)}`),
    h("p", { class: "quiet" }, "If some could not be read, ", h("code", {}, `vtr store failures --store ${quoted(store.store)}`), " says why."),
  ];
}

/** @param {{came_in: string, allowed: string, to_do: string}} parts @param {string} title */
export function error(parts, title) {
  return [
    h("h1", {}, title),
    h(
      "dl",
      { class: "parts" },
      h("dt", {}, "What came in"),
      h("dd", {}, parts.came_in),
      h("dt", {}, "What is allowed"),
      h("dd", {}, parts.allowed),
      h("dt", {}, "What to do"),
      h("dd", {}, parts.to_do),
    ),
  ];
}

/**
 * @param {string[]} notes what the API says about it
 * @param {{numFilters: number, hasRelevance: boolean, hasChain: boolean, onClear: () => void}} options
 */
export function nothingFound(notes, { numFilters, hasRelevance, hasChain, onClear }) {
  const hints = [
    numFilters ? "Take away a filter, or all of them." : null,
    hasRelevance ? "Lower the relevance that is asked for." : null,
    hasChain ? "Allow more time between the moments, or ask for one of them." : null,
    numFilters ? null : "Say what is to be seen in plain words: things, people, places, what they do.",
  ];
  return [
    h("h1", {}, "Nothing found"),
    ...notes.map((note) => h("p", { class: "lead" }, note)),
    h("ul", { class: "hints" }, ...hints.filter(Boolean).map((hint) => h("li", {}, hint))),
    numFilters ? h("button", { type: "button", class: "button", onclick: onClear }, "Clear filters") : null,
  ].filter((node) => node !== null);
}

/** Live progress of a running extract; null where none runs. @param {Store} store */
export function indexing(store) {
  if (!store.is_extracting) return null;
  const progress = store.progress;
  if (!progress?.num_total) return [h("p", {}, "Videos are being added.")];
  const bar = h("progress", { max: progress.num_total, value: progress.num_done, "aria-label": "Videos added" });
  const failed = progress.num_failed ? `, ${progress.num_failed.toLocaleString("en")} could not be read` : "";
  return [
    h("p", {}, `Adding videos: ${progress.num_done.toLocaleString("en")} of ${progress.num_total.toLocaleString("en")}${failed}. What is there can be searched.`),
    bar,
  ];
}

/** @param {string} text */
function command(text) {
  const button = h("button", { type: "button", class: "button" }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(text).catch(() => null);
    button.textContent = "Copied";
  });
  return h("p", { class: "command" }, h("code", {}, text), button);
}

/** A path as a shell takes it. @param {string} path */
const quoted = (path) => (/^[\w./~+-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`);
