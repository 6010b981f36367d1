// What is asked for, and the address that says so: a link holds query, filters and the moment that is open.
// Names are those of the API's parameters, so one table serves both; `open` is the page's own.

import { decoded, queryString } from "./url.js";

const LISTS = ["plus", "not", "then", "like", "image", "path"];
const TEXTS = ["q", "within", "weights", "moments", "per_video", "method", "score", "min_relevance", "min_duration",
  "max_duration", "after", "before", "min_size", "max_size", "missing", "store", "open"];
const DEFAULTS = { moments: "1" };
/** What the filters' panel holds; the rest is the query itself and where it is asked. */
export const FILTERS = ["path", "min_duration", "max_duration", "after", "before", "min_size", "max_size",
  "min_relevance", "per_video", "method", "missing"];

/** @typedef {Record<string, any>} State texts by name, and lists of texts for what may be repeated */

/** @param {string} search an address's part behind the ? @returns {State} */
export function parse(search) {
  const state = /** @type {State} */ ({});
  for (const name of LISTS) state[name] = [];
  for (const name of TEXTS) state[name] = DEFAULTS[name] ?? "";
  for (const pair of search.replace(/^\?/, "").split("&")) {
    const [name, value = ""] = pair.split(/=(.*)/s);
    if (LISTS.includes(name) && value) state[name].push(decoded(value));
    else if (TEXTS.includes(name)) state[name] = decoded(value);
  }
  return state;
}

/** The part behind the ?, without what is as it is by default. @param {State} state */
export function format(state) {
  return queryString(pairs(state).filter(([name, value]) => value !== (DEFAULTS[name] ?? "")));
}

/** What the API is asked. @param {State} state @returns {[string, string][]} */
export function parameters(state) {
  const asked = pairs(state).filter(([name]) => name !== "open");
  return asked.flatMap(([name, value]) => (name === "path" && isWord(value) ? [[name, value], [name, `*${value}*`]] : [[name, value]]));
}

/** Whether it is the beginning of a name or its middle, as people type it into a field: neither a glob nor a path. @param {string} text */
const isWord = (text) => !/[*?[/]/.test(text);

/** @param {State} state @returns {[string, string][]} */
function pairs(state) {
  const lists = LISTS.flatMap((name) => state[name].map((value) => [name, value]));
  const texts = TEXTS.map((name) => [name, name === "q" ? state[name].trim() : state[name]]);
  return /** @type {[string, string][]} */ ([...texts, ...lists].filter(([, value]) => value !== ""));
}

/** Whether there is something to search for. @param {State} state */
export function isAsking(state) {
  return Boolean(state.q.trim()) || ["plus", "like", "image"].some((name) => state[name].some((value) => value.trim()));
}

/** How many filters are set. @param {State} state */
export const numFilters = (state) => FILTERS.filter((name) => state[name].length).length;

/** The query in words, for the title and for lists. @param {State} state @param {(id: string) => string} nameOf */
export function inWords(state, nameOf) {
  const parts = [
    state.q.trim(),
    ...state.image.map(() => "a picture"),
    ...state.like.map((place) => `like ${nameOf(place)}`),
    ...state.plus.map((text) => `+ ${text}`),
    ...state.not.map((text) => `− ${text}`),
    ...state.then.map((text) => `→ ${text}`),
  ];
  return parts.filter(Boolean).join(" ");
}

/** A place in a video as the API writes it: ID@SECONDS. @param {string} id @param {number} seconds */
export const place = (id, seconds) => `${id}@${Math.round(seconds * 1000) / 1000}`;

/** @param {string} text @returns {{id: string, seconds: number | null}} */
export function parsePlace(text) {
  const [, id, seconds] = text.match(/^(.*)@(\d+(?:\.\d+)?)$/s) ?? [];
  return id ? { id, seconds: Number(seconds) } : { id: text, seconds: null };
}
