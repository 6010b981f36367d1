// The page: one state, which the address holds; whoever changes it calls `change`, and everything that shows it is told.

import { ApiError, ServerGone } from "./api.js";
import { byId, h, icon } from "./dom.js";
import { createFilters } from "./filters.js";
import { count, splitPath } from "./format.js";
import { createGrid } from "./grid.js";
import { watchHealth } from "./health.js";
import { createInside } from "./inside.js";
import { addCardKey, listenToKeys } from "./keys.js";
import { createMarks } from "./marks.js";
import { createPicks } from "./picks.js";
import { takePictures } from "./pictures.js";
import { attachPlayer, closePlayer, openMoment, playAll } from "./player.js";
import { createQuery } from "./query.js";
import { createSearch } from "./search.js";
import * as shown from "./states.js";
import { format, inWords, isAsking, numFilters, parse, parsePlace, place } from "./state.js";
import { createTabs } from "./tabs.js";
import { switchTheme } from "./theme.js";
import { createWhy } from "./why.js";

const SETTLED_MILLISECONDS = 1500; // typing after such a pause is another entry of the browser's history

let state = parse(location.search);
/** @type {any} */
let health = null;
let changedAt = 0;

const announcer = byId("announcer");
const player = byId("player");
const grid = createGrid(byId("results"), {
  onPlay: (result, start, end) => open(result.video_id, start, end),
  onCard: (result, card, menu) => attached.forEach((addition) => addition.card?.(result, card, menu)),
  onLeaveTop: () => query.focus(),
});
const inside = createInside({ onPlay: open });
const query = createQuery({
  input: byId("q"),
  terms: byId("terms"),
  form: byId("search"),
  onChange: change,
  onEnter: () => {
    changedAt = 0;
    search.start(state);
  },
});
const filters = createFilters({ onChange: change });
const tabs = createTabs({ onStore: (store) => change({ store, open: "" }, false) });
const search = createSearch({ onAnswer: showAnswer, onError: showError, onBusy: showBusy });
const watch = watchHealth({ onHealth: showHealth, onGone: showGone, onBack: refresh });

/** Additions of other modules: see `attach`. @type {Addition[]} */
const attached = [];

/**
 * What a module adds to the page. All are optional.
 * @typedef {object} Addition
 * @property {(result: import("./api.js").Result, card: HTMLElement, menu: HTMLElement) => void} [card]
 *   called for each card when it is made; buttons go into its menu
 * @property {(results: import("./api.js").Result[], tools: HTMLElement) => void} [results]
 *   called when the list has changed; `tools` stands above it
 * @property {(moment: {store: string | null, id: string, start: number, end: number | null}, tools: HTMLElement) => void} [moment]
 *   called when the player shows a moment; `tools` stands under it
 * @property {(health: any) => void} [health] called when the server was asked how it is
 */

/** @param {Addition} addition */
function attach(addition) {
  attached.push(addition);
}

/** What modules need of the page. */
const page = {
  attach,
  addCardKey,
  /** @param {string} text for who does not see the page */
  announce: (text) => {
    announcer.textContent = text;
  },
  change,
  open,
  results: () => grid.results(),
  resultAt: grid.resultAt,
  state: () => state,
  store: () => state.store || (storeNow()?.name ?? null),
};

attachPlayer(page);

// --- what the page does ---

/**
 * @param {Record<string, any>} changes to the state
 * @param {boolean} isTyping then the search waits a moment, and a burst of keys is one entry of the history
 */
function change(changes, isTyping) {
  state = { ...state, ...changes };
  const isBurst = isTyping && Date.now() - changedAt < SETTLED_MILLISECONDS;
  changedAt = isTyping ? Date.now() : 0;
  history[isBurst ? "replaceState" : "pushState"](null, "", address());
  showState();
  ask(isTyping);
}

const address = () => `${location.pathname}${format(state) && `?${format(state)}`}`;

/** @param {boolean} [isTyping] */
function ask(isTyping = false) {
  if (isAsking(state)) {
    search.start(state, { isTyping });
    return;
  }
  search.stop();
  grid.clear();
  showResultTools();
  showIdle();
}

function refresh() {
  if (isAsking(state)) search.start(state);
}

/** @param {string} id @param {number} start @param {number | null} end */
function open(id, start, end) {
  const isOpen = Boolean(state.open);
  state = { ...state, open: place(id, start) };
  history[isOpen ? "replaceState" : "pushState"]({ isOpened: true }, "", address());
  play(id, start, end);
}

/** @param {string} id @param {number} start @param {number | null} end */
function play(id, start, end) {
  openMoment({ store: page.store(), id, start, end });
}

player.addEventListener("moment", (/** @type {CustomEvent} */ event) => {
  const moment = event.detail;
  inside.show(moment, state);
  attached.forEach((addition) => addition.moment?.(moment, byId("player-tools")));
});
player.addEventListener("close", () => {
  if (!state.open) return;
  state = { ...state, open: "" };
  if (history.state?.isOpened) history.back();
  else history.replaceState(null, "", address());
});
addEventListener("popstate", () => {
  const before = format({ ...state, open: "" });
  state = parse(location.search);
  showState();
  if (before !== format({ ...state, open: "" })) ask();
  if (state.open) playFromAddress();
  else closePlayer();
});

function playFromAddress() {
  const { id, seconds } = parsePlace(state.open);
  const moments = grid.results().filter((result) => result.video_id === id).flatMap((result) => result.moments);
  const end = moments.find((moment) => place(id, moment.start_seconds) === state.open)?.end_seconds ?? null;
  play(id, seconds ?? 0, end);
}

// --- what the page shows ---

function showState() {
  query.show(state);
  filters.show(state);
  tabs.show(health?.stores ?? [], state.store);
  const words = isAsking(state) ? inWords(state, (text) => splitPath(parsePlace(text).id)[0]) : "";
  document.title = words ? `${words} · vtr` : "vtr";
}

const storeNow = () => health?.stores.find((/** @type {any} */ store) => store.name === state.store) ?? health?.stores[0] ?? null;

/** Whether the address names a store that is not served. */
const isStrayed = () => Boolean(health && state.store && !health.stores.some((/** @type {any} */ store) => store.name === state.store));

/** @param {import("./api.js").Answer} answer @param {import("./state.js").State} asked @param {boolean} isMore */
function showAnswer(answer, asked, isMore) {
  grid.show(answer.results, page.store(), { isMore, query: format(asked) });
  const number = grid.results().length;
  const unit = asked.then.length ? "sequence" : asked.moments === "1" ? "moment" : "video";
  const found = `${count(number, unit)}${search.hasMore() ? " so far" : ""}`;
  const among = `of ${count(answer.num_videos, "video")}, ${Math.max(1, Math.round(answer.seconds * 1000))} ms`;
  showCount(...(number ? [found, h("span", { class: "quiet" }, ` ${among}`)] : []));
  page.announce(number ? found : "Nothing found");
  showNotes(number ? answer.notes : []);
  showInstead(
    number
      ? null
      : shown.nothingFound(answer.notes, {
          numFilters: numFilters(asked),
          hasRelevance: Boolean(asked.min_relevance),
          hasChain: asked.then.length > 0,
          onClear: () => byId("filters-clear").click(),
        }),
  );
  byId("more").hidden = !search.hasMore();
  showResultTools();
}

/** @param {...(string | Node)} content nothing where other words are the page's heading */
function showCount(...content) {
  byId("count").hidden = !content.length;
  byId("count").replaceChildren(...content);
}

function showResultTools() {
  const results = grid.results();
  attached.forEach((addition) => addition.results?.(results, byId("result-tools")));
}

/** @param {Error} error */
function showError(error) {
  if (error instanceof ServerGone) {
    watch.suspect();
    return;
  }
  grid.clear();
  showResultTools();
  byId("more").hidden = true;
  showCount();
  showNotes([]);
  const parts = error instanceof ApiError ? error.parts : { came_in: error.message, allowed: "an answer of the server", to_do: "load the page again" };
  showInstead(shown.error(parts, error instanceof ApiError && error.status < 500 ? "This cannot be answered" : "The server could not answer"));
  page.announce(`${parts.came_in}. ${parts.to_do}`);
}

/** @param {Node[] | null} content null: there are results */
function showInstead(content) {
  const section = byId("state");
  section.hidden = content === null;
  section.replaceChildren(...(content ?? []));
}

/** Nothing is asked for. */
function showIdle() {
  byId("more").hidden = true;
  showCount();
  showNotes([]);
  const store = storeNow();
  if (store === null) showInstead([]);
  else if (isStrayed()) showInstead(shown.unknownStore(state.store, health.stores, (changes) => change(changes, false)));
  else if (shown.isEmpty(store)) showInstead(shown.emptyStore(store));
  else if (store.error) showInstead(shown.error(store.error, "This store cannot be read"));
  else showInstead(shown.start(store, (changes) => change(changes, false), open));
}

/** @param {string[]} notes */
function showNotes(notes) {
  const list = byId("notes");
  list.hidden = !notes.length;
  list.replaceChildren(...notes.map((note) => h("li", {}, note)));
}

/** @param {boolean} isBusy */
function showBusy(isBusy) {
  byId("results").setAttribute("aria-busy", String(isBusy));
  document.documentElement.classList.toggle("busy", isBusy);
}

/** @param {any} found */
function showHealth(found) {
  const before = storeNow();
  health = found;
  const store = storeNow();
  byId("gone").hidden = true;
  tabs.show(health.stores, state.store);
  filters.setBank(Boolean(store?.has_bank));
  const progress = store && shown.indexing(store);
  byId("indexing").hidden = !progress;
  byId("indexing").replaceChildren(...(progress ?? []));
  if (!isAsking(state)) {
    if (JSON.stringify({ ...before, progress: null }) !== JSON.stringify({ ...store, progress: null })) showIdle();
  } else if (before && before.num_videos !== store?.num_videos && !state.open) refresh();
  attached.forEach((addition) => addition.health?.(health));
}

/** @param {number} seconds to the next try */
function showGone(seconds) {
  const banner = byId("gone");
  banner.hidden = false;
  banner.replaceChildren(
    `The server does not answer. The page tries again ${seconds > 1 ? `in ${seconds} seconds` : "in a second"}. `,
    h("button", { type: "button", class: "button", onclick: watch.look }, "Try now"),
  );
}

// --- begin ---

addCardKey("m", "more like this", (card) => moreLike(card));
addCardKey("v", "more in this video", (card) => moreInside(card));

/** @param {HTMLElement} card */
function moreLike(card) {
  const result = grid.resultAt(card);
  if (result) change({ q: "", plus: [], not: [], then: [], within: "", image: [], like: [place(result.video_id, result.peak_seconds)] }, false);
}

/** @param {HTMLElement} card */
function moreInside(card) {
  const result = grid.resultAt(card);
  if (result) open(result.video_id, result.start_seconds, result.end_seconds);
}

attach({
  card(result, card, menu) {
    const action = (/** @type {any} */ name, /** @type {string} */ label, /** @type {(card: HTMLElement) => void} */ act) =>
      h("li", {}, h("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick: () => act(card) }, icon(name)));
    menu.append(action("like", "More like this", moreLike), action("inside", "More in this video", moreInside));
  },
  results(results, tools) {
    let all = /** @type {HTMLButtonElement | null} */ (tools.querySelector("[data-tool=play-all]"));
    if (!all) {
      all = /** @type {HTMLButtonElement} */ (h("button", { type: "button", class: "button", "data-tool": "play-all", onclick: () => playAll(grid.results()) }, icon("play"), "Play all"));
      tools.append(viewSwitch(), all);
    }
    tools.hidden = !isAsking(state);
    all.hidden = !results.length;
    for (const radio of tools.querySelectorAll("[name=view]")) /** @type {HTMLInputElement} */ (radio).checked = /** @type {HTMLInputElement} */ (radio).value === state.moments;
  },
});

/** Moments or videos. */
function viewSwitch() {
  const option = (/** @type {string} */ value, /** @type {string} */ text) =>
    h("label", {}, h("input", { type: "radio", name: "view", value, onchange: () => change({ moments: value }, false) }), h("span", {}, text));
  return h("fieldset", { class: "segments" }, h("legend", { class: "sr" }, "What is ranked"), option("1", "Moments"), option("0", "Videos"));
}

createMarks(page, createPicks(page));
createWhy(page);

byId("help-button").append(icon("help"));
listenToKeys({
  focusSearch: query.focus,
  clearSearch: () => change({ q: "" }, false),
  focusResults: grid.focusFirst,
});
takePictures({
  onPicture: (id, bitmap) => {
    query.remember(id, bitmap);
    change({ image: [id] }, false);
  },
  onError: showError,
  onBusy: showBusy,
});
switchTheme();
byId("more").addEventListener("click", search.more);
new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && search.more(), { rootMargin: "600px" }).observe(byId("more"));
showState();
ask();
if (state.open) playFromAddress();
