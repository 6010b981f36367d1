// One result: its picture (a button that plays), where it matches, its name, and how well in a word and a bar.

import { thumbnailUrl } from "./api.js";
import { h, icon } from "./dom.js";
import { span, splitPath } from "./format.js";
import { heatStrip } from "./strip.js";

const WIDTH = 480; // pixels of a thumbnail: a card's width on a dense screen
const FULL_RELEVANCE = 6; // standard deviations above what captions in general score: a full bar

/** @typedef {import("./api.js").Result} Result */
/** What a card is told apart by when results change. @param {Result} result */
export const keyOf = (result) =>
  [result.store, result.video_id, result.start_seconds, result.end_seconds, result.chain?.length].join("\n");

/** What people know it by. @param {Result} result */
export const nameOf = (result) => splitPath(result.path || result.video_id)[0];

/**
 * @param {Result} result
 * @param {{best: number, root: string, store: string | null, onPlay: (result: Result, start: number, end: number | null) => void}} options
 *   best: the highest score of the list, for bars where there is no relevance; root: the folder that all are in; store: the tab it was found in
 */
export function makeCard(result, { best, root, store, onPlay }) {
  const [name, folder] = splitPath(result.path || result.video_id);
  const trouble = result.missing ? "missing" : result.replaced ? "replaced" : null;
  const steps = result.chain ?? [result];
  const word = wordOf(result);
  const pictures = steps.map((step, index) => picture(result, step, index));

  function picture(/** @type {Result} */ of, /** @type {any} */ step, /** @type {number} */ index) {
    const when = span(step.start_seconds, step.end_seconds);
    const what = result.chain ? `${index + 1}. ${step.query}, ` : "";
    return h(
      "button",
      {
        type: "button",
        class: "play",
        "aria-label": `${what}${name}, ${when}${word ? `, ${word} match` : ""}${trouble ? `, ${trouble}` : ""}`,
        "aria-keyshortcuts": "Enter",
        onclick: () => onPlay(of, step.start_seconds, step.end_seconds),
      },
      frame(thumbnailUrl(of.video_id, store, step.peak_seconds, WIDTH)),
      h("span", { class: "time" }, when),
      trouble && h("span", { class: "trouble" }, trouble),
      result.chain && h("span", { class: "step" }, step.query),
    );
  }

  const card = h(
    "li",
    { class: `card${result.chain ? " chain" : ""}${trouble ? " gone" : ""}` },
    h("div", { class: "frames" }, ...pictures),
    result.strip && result.duration_seconds
      ? heatStrip({
          values: result.strip,
          duration: result.duration_seconds,
          moments: result.chain ?? result.moments,
          label: name,
          onPlay: (seconds) => onPlay(result, seconds, null),
        })
      : null,
    h("p", { class: "name", title: result.path || result.video_id }, name),
    h("p", { class: "folder", title: folder }, folder.slice(root.length).replace(/^[/\\]/, ""), twins(result)),
    h("div", { class: "foot" }, score(result, word, best), h("menu", { class: "actions", "aria-label": `Actions for ${name}` })),
  );
  return card;
}

/** A picture that says so when it cannot be had, instead of the browser's broken one. @param {string} url */
function frame(url) {
  const image = h("img", { src: url, alt: "", loading: "lazy", decoding: "async", draggable: "false" });
  image.addEventListener("error", () => image.replaceWith(h("span", { class: "blank" }, icon("picture"))));
  return image;
}

/** @param {Result} result */
function twins(result) {
  const number = result.twins?.length;
  return number ? h("span", { class: "twins", title: result.twins.join("\n") }, `same file ${number} more ${number > 1 ? "times" : "time"}`) : null;
}

/** "strong", "good", "weak"; null where nothing tells. @param {Result} result */
const wordOf = (result) => result.word || null;

/** @param {Result} result @param {string | null} word @param {number} best */
function score(result, word, best) {
  const fraction = result.relevance === null || result.relevance === undefined ? result.score / best : result.relevance / FULL_RELEVANCE;
  const bar = h("span", { class: "bar-of", "aria-hidden": "true" }, h("span"));
  bar.style.setProperty("--part", String(Math.min(Math.max(Number.isFinite(fraction) ? fraction : 0, 0.03), 1)));
  const exact = `score ${result.score.toFixed(3)}${result.relevance == null ? "" : `, relevance ${result.relevance.toFixed(1)}`}`;
  return h("span", { class: "score", title: exact }, word && h("span", { class: "word" }, word), bar, h("span", { class: "number" }, result.score.toFixed(2)));
}
