// Annotate as you look: a moment is right or wrong for the sentence, with a start and an end that the player sets. What
// is marked is kept by the server beside the store; every change tells how it is taken back.

import { ApiError, getJson, postJson } from "./api.js";
import { byId, h, icon, iconButton } from "./dom.js";
import { clock, count, span, splitPath } from "./format.js";
import { listKey } from "./keys.js";
import { onPicture } from "./picks.js";
import { stayAt } from "./player.js";
import { queryString } from "./url.js";

const SAME = 0.5; // a mark is that of a result when they share at least this much of what both cover
const NUDGE_SECONDS = 0.1;
const NAME_KEY = "vtr-who";
const LISTS = { right: "relevant_windows", wrong: "wrong_windows" };

/** @typedef {"right" | "wrong"} Verdict */
/** @typedef {{start_seconds: number, end_seconds: number, verdict: Verdict | "none"}} Change */
/** @typedef {{verdict: Verdict, start: number, end: number}} Mark */

/**
 * @param {any} page what main.js gives its additions
 * @param {{button: (now: () => any) => HTMLElement, show: () => void}} picks
 */
export function createMarks(page, picks) {
  /** Marks of the sentence by video. @type {Map<string, Mark[]>} */
  let marks = new Map();
  let loadedFor = "";
  let isLoaded = false;
  let file = "";
  /** @type {{q: string, id: string, store: string | null, changes: Change[]}[]} */
  const undos = [];
  /** What the player shows. @type {{id: string, start: number, end: number, last: "start" | "end"} | null} */
  let selected = null;

  const section = h("section", { class: "marked", id: "marked", "aria-label": "Marked for this query", hidden: true });
  byId("notes").after(section);

  // --- what is asked ---

  /** The sentence that marks are for; empty where a query is more than sentences. */
  function sentence() {
    const { q, plus, not, then, like, image } = page.state();
    const isMore = [plus, not, like, image].some((list) => list.length);
    return isMore ? "" : [q, ...then].map((text) => text.trim().split(/\s+/).join(" ")).filter(Boolean).join(", then ");
  }

  /** As the address has it: which one is the first is known only when the server has said how it is. */
  const store = () => page.state().store || null;

  async function load() {
    const q = sentence();
    const key = `${store()}\n${q}`;
    if (key === loadedFor && isLoaded) return;
    loadedFor = key;
    isLoaded = true;
    problem = "";
    marks = new Map();
    if (q) {
      try {
        const found = await getJson(`/api/annotations?${queryString([["q", q], ["store", store()]])}`);
        if (key !== loadedFor) return;
        file = found.file;
        for (const row of found.annotations) keep(row);
      } catch (error) {
        if (key !== loadedFor) return;
        isLoaded = false; // asked again with the next answer, which may find what this one missed
        if (error instanceof ApiError) told(error.parts);
      }
    }
    show();
  }

  /** @param {any} row a line of the file */
  function keep(row) {
    const of = (/** @type {Verdict} */ verdict) => row[LISTS[verdict]].map((/** @type {number[]} */ [start, end]) => ({ verdict, start, end }));
    marks.set(row.vid, [...of("right"), ...of("wrong")].sort((a, b) => a.start - b.start));
  }

  /** @param {string} id @param {number} start @param {number} end */
  const at = (id, start, end) => (marks.get(id) ?? []).filter((mark) => overlap(mark, { start, end }) >= SAME);

  // --- what is changed ---

  /** @param {string} id @param {Change[]} changes @param {string} said */
  async function change(id, changes, said) {
    const body = { q: sentence(), id, store: store(), changes, who: name() || null };
    if (!body.q || !changes.length) return;
    try {
      const answer = await (await postJson("/api/annotations", body)).json();
      undos.push({ q: body.q, id, store: body.store, changes: answer.undo });
      took(answer.annotation, body);
      page.announce(said);
    } catch (error) {
      told(error instanceof ApiError ? error.parts : { came_in: "The server does not answer", to_do: "nothing was marked" });
    }
  }

  async function undo() {
    const last = undos.pop();
    if (!last) return;
    try {
      const answer = await (await postJson("/api/annotations", last)).json();
      took(answer.annotation, last);
      page.announce("Taken back");
    } catch (error) {
      undos.push(last);
      told(error instanceof ApiError ? error.parts : { came_in: "The server does not answer", to_do: "nothing was changed" });
    }
  }

  /** @param {any} row @param {{q: string, id: string, store: string | null}} asked */
  function took(row, asked) {
    if (`${asked.store}\n${asked.q}` !== loadedFor) return;
    if (row) keep(row);
    else marks.delete(asked.id);
    problem = "";
    show();
  }

  let problem = "";
  /** @param {{came_in: string, to_do: string}} parts */
  function told({ came_in, to_do }) {
    problem = `${came_in}: ${to_do}`;
    page.announce(problem);
    show();
  }

  /** Mark a span, or take the mark back where it has that verdict already. @param {string} id @param {number} start @param {number} end @param {Verdict} verdict */
  function mark(id, start, end, verdict) {
    const there = at(id, start, end);
    const isSet = there.some((one) => one.verdict === verdict && isSpan(one, start, end)) || (there.length > 0 && there.every((one) => one.verdict === verdict) && !selected);
    const cleared = there.map((one) => ({ start_seconds: one.start, end_seconds: one.end, verdict: /** @type {"none"} */ ("none") }));
    const made = isSet ? [] : [{ start_seconds: start, end_seconds: end, verdict }];
    change(id, [...cleared, ...made], isSet ? "Mark taken back" : `Marked as ${verdict}, ${span(start, end)}`);
  }

  // --- what is shown ---

  function show() {
    for (const button of document.querySelectorAll("[data-mark]")) press(/** @type {HTMLElement} */ (button));
    showList();
    showSelected();
  }

  /** @type {WeakMap<HTMLElement, () => {id: string, start: number, end: number} | null>} */
  const spanOf = new WeakMap();
  /** @param {HTMLElement} button @param {Verdict} verdict @param {() => {id: string, start: number, end: number} | null} now @returns {HTMLElement} */
  function markButton(button, verdict, now) {
    spanOf.set(button, now);
    button.dataset.mark = verdict;
    button.addEventListener("click", () => {
      const of = now();
      if (of) mark(of.id, of.start, of.end, verdict);
    });
    press(button);
    return button;
  }

  /** @param {HTMLElement} button */
  function press(button) {
    const of = spanOf.get(button)?.();
    const isSet = Boolean(of && at(of.id, of.start, of.end).some((one) => one.verdict === button.dataset.mark));
    button.setAttribute("aria-pressed", String(isSet));
    button.hidden = !sentence();
  }

  function showList() {
    const all = [...marks].flatMap(([id, list]) => list.map((one) => ({ id, ...one })));
    section.hidden = !all.length && !problem && !undos.length;
    if (section.hidden) return;
    const numRight = all.filter((one) => one.verdict === "right").length;
    const title = h("h2", {}, all.length ? `Marked for this query: ${numRight} right, ${all.length - numRight} wrong` : "Nothing marked for this query");
    const who = /** @type {HTMLInputElement} */ (h("input", { value: name(), maxlength: 100, placeholder: "optional", autocomplete: "off", onchange: () => rename(who.value.trim()) }));
    const foot = [
      h("button", { type: "button", class: "button", disabled: !undos.length, onclick: undo }, icon("undo"), "Undo"),
      h("label", { class: "marked-who" }, "Your name", who),
      file ? h("span", { class: "quiet marked-file" }, "kept in ", h("code", {}, file)) : null,
    ];
    const isOpen = section.querySelector("details")?.open ?? false;
    const details = /** @type {HTMLDetailsElement} */ (h("details", {}, h("summary", {}, title), h("ul", {}, ...all.map(row)), h("div", { class: "marked-foot" }, ...foot)));
    details.open = isOpen;
    section.replaceChildren(...(problem ? [h("p", { role: "alert" }, problem)] : []), details);
  }

  /** @param {{id: string} & Mark} one */
  function row(one) {
    const path = page.results().find((/** @type {any} */ result) => result.video_id === one.id)?.path ?? one.id;
    return h(
      "li",
      {},
      badge(one.verdict),
      h("button", { type: "button", class: "marked-play", onclick: () => page.open(one.id, one.start, one.end) }, splitPath(path)[0], h("span", { class: "quiet" }, ` ${span(one.start, one.end)}`)),
      iconButton("close", `Take back the mark on ${splitPath(path)[0]}, ${span(one.start, one.end)}`, () => change(one.id, [{ start_seconds: one.start, end_seconds: one.end, verdict: "none" }], "Mark taken back")),
    );
  }

  // --- in the player ---

  /** @param {{id: string, start: number, end: number | null}} moment @param {HTMLElement} tools */
  function showInPlayer(moment, tools) {
    selected = { id: moment.id, start: round(moment.start), end: round(moment.end ?? moment.start + 2), last: "start" };
    let box = /** @type {HTMLElement | null} */ (tools.querySelector(".marker"));
    if (!box) {
      box = h("div", { class: "marker", role: "group", "aria-label": "Mark this moment" });
      tools.append(box);
    }
    box.replaceChildren(
      end("start", "Start", "i"),
      end("end", "End", "o"),
      h(
        "span",
        { class: "marker-verdicts" },
        markButton(h("button", { type: "button", class: "button", "aria-keyshortcuts": "y" }, icon("check"), "Right"), "right", () => selected),
        markButton(h("button", { type: "button", class: "button", "aria-keyshortcuts": "x" }, icon("close"), "Wrong"), "wrong", () => selected),
        picks.button(() => selected),
      ),
      h("ul", { class: "marker-list", "aria-label": "Marks in this video" }),
      h("p", { class: "marker-problem", role: "alert" }),
    );
    showSelected();
  }

  /** One end of the span: its time, set to what is shown, and moved a little. @param {"start" | "end"} which @param {string} label @param {string} key */
  function end(which, label, key) {
    return h(
      "span",
      { class: "marker-end", role: "group", "aria-label": label },
      iconButton("minus", `${label} earlier`, () => nudge(which, -1)),
      h("button", { type: "button", class: "button", "aria-keyshortcuts": key, title: `Set to the time that is shown (${key})`, onclick: () => set(which, playedSeconds()) }, h("span", { class: "quiet" }, label), h("output", { "data-end": which })),
      iconButton("plus", `${label} later`, () => nudge(which, 1)),
    );
  }

  /** @param {"start" | "end"} which @param {number} seconds */
  function set(which, seconds) {
    if (!selected) return;
    const wanted = round(Math.max(seconds, which === "end" ? NUDGE_SECONDS : 0));
    selected = { ...selected, [which]: wanted, last: which };
    // The other end gives way: a span has a length.
    if (selected.start >= selected.end && which === "start") selected.end = round(wanted + NUDGE_SECONDS);
    else if (selected.start >= selected.end) selected.start = round(wanted - NUDGE_SECONDS);
    showSelected();
    page.announce(`${which} ${clock(wanted, true)}`);
  }

  /** @param {"start" | "end"} which @param {1 | -1} way */
  function nudge(which, way) {
    if (!selected) return;
    set(which, selected[which] + way * NUDGE_SECONDS);
    stayAt(selected[which]);
  }

  function showSelected() {
    const tools = byId("player-tools");
    if (!selected) return;
    for (const output of tools.querySelectorAll("[data-end]")) output.textContent = clock(selected[/** @type {"start" | "end"} */ (/** @type {HTMLElement} */ (output).dataset.end)], true);
    for (const button of tools.querySelectorAll("[data-mark]")) press(/** @type {HTMLElement} */ (button));
    picks.show();
    const { id } = selected;
    const rows = (marks.get(id) ?? []).map((one) => h("li", {}, badge(one.verdict), h("button", { type: "button", class: "marked-play", onclick: () => page.open(id, one.start, one.end) }, span(one.start, one.end))));
    tools.querySelector(".marker-list")?.replaceChildren(...rows);
    tools.querySelector(".marker-problem")?.replaceChildren(problem);
  }

  byId("player").addEventListener("close", () => (selected = null));
  byId("player").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (!selected || event.ctrlKey || event.metaKey || event.altKey || target.matches("input, select, textarea") || target.closest("dialog")?.id !== "player") return;
    const { id, start, end: stop, last } = selected;
    /** @type {Record<string, () => void>} */
    const keys = {
      i: () => set("start", playedSeconds()),
      o: () => set("end", playedSeconds()),
      "[": () => nudge(last, -1),
      "]": () => nudge(last, 1),
      y: () => mark(id, start, stop, "right"),
      x: () => mark(id, start, stop, "wrong"),
      u: undo,
    };
    if (!Object.hasOwn(keys, event.key)) return;
    keys[event.key]();
    event.preventDefault();
    event.stopPropagation();
  });
  listKey(["i", "o"], "in the player: set start and end of a mark");
  listKey(["[", "]"], "in the player: move the end that was set last by 0.1 s");
  listKey(["y", "x", "u"], "in the player: mark as right, as wrong, undo");

  // --- on the cards ---

  page.attach({
    card(/** @type {any} */ result, /** @type {HTMLElement} */ card) {
      const now = () => ({ id: result.video_id, start: result.start_seconds, end: result.end_seconds });
      onPicture(card).append(
        h("li", {}, markButton(iconButton("check", "Right", () => {}), "right", now)),
        h("li", {}, markButton(iconButton("close", "Wrong", () => {}), "wrong", now)),
      );
    },
    results: load,
    moment: showInPlayer,
  });
  const byKey = (/** @type {Verdict} */ verdict) => (/** @type {HTMLElement} */ card) => {
    const result = page.resultAt(card);
    if (result && sentence()) mark(result.video_id, result.start_seconds, result.end_seconds, verdict);
  };
  page.addCardKey("y", "mark as right", byKey("right"));
  page.addCardKey("x", "mark as wrong", byKey("wrong"));
  page.addCardKey("u", "undo the last mark", undo);
}

/** @param {Verdict} verdict */
const badge = (verdict) => h("span", { class: `verdict ${verdict}` }, icon(verdict === "right" ? "check" : "close"), verdict);

/** How much of what two spans cover both of them do. @param {{start: number, end: number}} a @param {{start: number, end: number}} b */
function overlap(a, b) {
  const both = Math.min(a.end, b.end) - Math.max(a.start, b.start);
  return both <= 0 ? 0 : both / (Math.max(a.end, b.end) - Math.min(a.start, b.start));
}

/** @param {Mark} mark @param {number} start @param {number} end */
const isSpan = (mark, start, end) => Math.abs(mark.start - start) < 0.001 && Math.abs(mark.end - end) < 0.001;

/** To milliseconds, as they are kept. @param {number} seconds */
const round = (seconds) => Math.round(seconds * 1000) / 1000;

/** The time that is shown. */
const playedSeconds = () => byId("player-stage").querySelector("video")?.currentTime ?? 0;

function name() {
  try {
    return localStorage.getItem(NAME_KEY) ?? "";
  } catch {
    return "";
  }
}

/** @param {string} who */
function rename(who) {
  try {
    localStorage.setItem(NAME_KEY, who);
  } catch {
    // it is asked for again then
  }
}
