// Plays moments in the dialog: from the exact start and on beyond the end, or, with "play all", one after the other from
// start to end. The dialog's event "moment" tells who wants to know what is shown.

import { byId, h, icon, iconButton } from "./dom.js";
import { clock, span, splitPath } from "./format.js";
import { listKey } from "./keys.js";
import { Screen } from "./screen.js";

/** @typedef {import("./screen.js").Shown} Shown */
/** @typedef {import("./api.js").Result} Result */
/** @typedef {{results: () => Result[], store: () => string | null, open: (id: string, start: number, end: number | null) => void}} Page */

const STEP = 5; // seconds per arrow key
const PREPARED_BEFORE = 6; // seconds before the end of a moment the next one is fetched
const SHORTEST = 1; // seconds that a moment of "play all" is shown at least
const HIDDEN_AFTER = 2500; // milliseconds without a move of the hand, while it plays

const dialog = byId("player");
/** @type {Page | null} */
let page = null;
/** @type {Screen | null} */
let screen = null;
/** The list that "play all" goes through, and where it is; null: one moment. @type {{shown: Shown[], at: number} | null} */
let list = null;
/** @type {Screen | null} */
let prepared = null;
let volume = { level: 1, muted: false };
let isFinal = false;
let idle = 0;

const parts = build();

/** What the player needs of the page: the list of results. @param {Page} given */
export function attachPlayer(given) {
  page = given;
}

/** @param {Shown} moment an end of null: only a time in the video */
export function openMoment(moment) {
  list = null;
  show(moment);
}

/** Results back to back, each from its start to its end. @param {Result[]} results */
export function playAll(results) {
  const store = page?.store() ?? null;
  const shown = results
    .filter((result) => !result.missing && !result.replaced)
    .flatMap((result) => (result.chain ?? [result]).map((moment) => ({ store: result.tab ?? store, id: result.video_id, start: moment.start_seconds, end: moment.end_seconds })));
  if (!shown.length) return;
  list = { shown, at: 0 };
  show(list.shown[0]);
}

/** Show a time of the video that is open, and stay there. @param {number} seconds */
export function stayAt(seconds) {
  screen?.video.pause();
  screen?.seek(seconds);
}

export function closePlayer() {
  if (dialog.open) dialog.close();
}

// --- what is shown ---

/** @param {Shown} moment */
function show(moment) {
  const before = screen?.moment;
  const isSame = screen !== null && !isFinal && before !== undefined && before.id === moment.id && before.store === moment.store;
  if (isSame && screen) {
    screen.moment = moment.end === null ? { .../** @type {Shown} */ (before), start: /** @type {Shown} */ (before).start } : moment;
    screen.seek(moment.start);
    screen.play();
  } else {
    const next = prepared !== null && sameShown(prepared.moment, moment) ? prepared : null;
    if (next === null) prepared?.close();
    prepared = null;
    screen?.close();
    isFinal = false;
    tell(null, false);
    screen = next ?? new Screen(moment, { onTold: (told, final) => tellOf(moment, told, final) });
    put(screen);
  }
  if (!dialog.open) dialog.showModal();
  draw();
  dialog.dispatchEvent(new CustomEvent("moment", { detail: moment }));
}

/** @param {Shown} one @param {Shown} other */
const sameShown = (one, other) => one.id === other.id && one.store === other.store && one.start === other.start;

/** @param {Screen} shown */
function put(shown) {
  const { video } = shown;
  video.volume = volume.level;
  video.muted = volume.muted;
  parts.stage.querySelector("video")?.remove();
  parts.stage.prepend(video);
  for (const name of ["play", "pause", "timeupdate", "durationchange", "progress", "waiting", "playing", "seeking", "seeked", "volumechange", "ended"]) {
    video.addEventListener(name, () => shown === screen && onVideo(name));
  }
  video.addEventListener("click", toggle);
  video.addEventListener("dblclick", fullscreen);
  parts.stage.classList.add("waits");
  shown.play();
  shown.ready.then(() => shown === screen && draw());
  watch(shown);
}

/** The end of a moment comes between two of the video's own events. @param {Screen} shown */
function watch(shown) {
  if (shown !== screen) return;
  if (list) follow(shown);
  drawTime();
  requestAnimationFrame(() => watch(shown));
}

/** @param {Screen} shown */
function follow(shown) {
  if (list === null || shown.video.paused || shown.video.seeking) return;
  const { start, end } = shown.moment;
  const until = Math.max(end ?? start, start + SHORTEST);
  const next = list.shown[list.at + 1];
  const left = until - shown.video.currentTime;
  if (left < PREPARED_BEFORE && next && prepared === null && !sameVideo(next, shown.moment)) {
    prepared = new Screen(next, { onTold: (told, final) => tellOf(next, told, final) });
  }
  if (left <= 0 || shown.video.ended) step(1);
}

/** @param {Shown} one @param {Shown} other */
const sameVideo = (one, other) => one.id === other.id && one.store === other.store;

/** To the next or previous one: of "play all", else of the results. @param {1 | -1} by */
function step(by) {
  if (list) {
    const to = list.at + by;
    if (to < 0) return;
    if (to >= list.shown.length) {
      screen?.pause();
      const again = list.shown;
      tell({ came_in: "That was all", to_do: count(again.length) }, true, { label: "Again", act: () => restart(again) });
      return;
    }
    list.at = to;
    show(list.shown[to]);
    return;
  }
  const to = neighbour(by);
  if (to) page?.open(to.video_id, to.start_seconds, to.end_seconds);
}

/** @param {Shown[]} shown */
function restart(shown) {
  list = { shown, at: 0 };
  isFinal = true; // though it may be the same video: from its begin
  show(shown[0]);
}

/** @param {number} number */
const count = (number) => `${number} ${number === 1 ? "moment" : "moments"}`;

/** @param {1 | -1} by @returns {Result | undefined} */
function neighbour(by) {
  const results = page?.results() ?? [];
  const now = screen?.moment;
  if (!now) return undefined;
  let at = results.findIndex((result) => result.video_id === now.id && Math.abs(result.start_seconds - now.start) < 0.01);
  if (at < 0) at = results.findIndex((result) => result.video_id === now.id);
  return at < 0 ? undefined : results[at + by];
}

// --- words ---

/** @param {Shown} moment @param {import("./stream.js").Told | null} told @param {boolean} final */
function tellOf(moment, told, final) {
  if (screen?.moment.id !== moment.id) return; // it is being prepared: it says so again when it is its turn
  tell(told, final, { label: "Try again", act: () => ((isFinal = true), show(moment)) });
  if (final && list && list.at < list.shown.length - 1) setTimeout(() => isFinal && screen?.moment.id === moment.id && step(1), 2500);
}

/** @param {import("./stream.js").Told | null} told @param {boolean} final @param {{label: string, act: () => void} | null} [button] */
function tell(told, final, button = null) {
  isFinal = final && told !== null;
  parts.told.hidden = told === null;
  if (told === null || final) parts.stage.classList.remove("waits");
  parts.stage.classList.toggle("told", told !== null);
  if (!told) return;
  parts.told.replaceChildren(
    final ? "" : h("span", { class: "spinner", "aria-hidden": "true" }),
    h("p", { class: "said" }, capital(told.came_in.match(/: [a-z-]+: (.+)$/)?.[1] ?? told.came_in)), // the title has the name
    told.to_do ? h("p", {}, capital(told.to_do)) : "",
    final && button ? h("button", { type: "button", class: "button", onclick: button.act }, button.label) : "",
  );
}

/** @param {string} text */
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// --- controls ---

function build() {
  const stage = byId("player-stage");
  const played = h("span", { class: "played" });
  const loaded = h("span", { class: "loaded" });
  const band = h("span", { class: "this-moment" });
  const tip = h("span", { class: "tip", hidden: true });
  const scrub = h("div", { class: "scrub", role: "slider", tabindex: 0, "aria-label": "Time", "aria-valuemin": 0 }, h("span", { class: "rail" }, loaded, band, played), h("span", { class: "knob" }), tip);
  const button = (/** @type {any} */ name, /** @type {string} */ label, /** @type {() => void} */ act) => iconButton(name, label, act);
  const play = button("pause", "Pause", toggle);
  const previous = button("previous", "Previous result", () => step(-1));
  const next = button("next", "Next result", () => step(1));
  const sound = button("sound", "Sound off", mute);
  const again = h("button", { type: "button", class: "again", "aria-label": "This moment again", title: "This moment again", onclick: repeat }, icon("again"), h("span", {}, "This moment again"));
  const full = button("full", "Full screen", fullscreen);
  const close = iconButton("close", "Close", closePlayer);
  const time = h("span", { class: "now" });
  const title = h("span", { class: "title" });
  const how = h("span", { class: "how" });
  const told = h("div", { class: "told-box", role: "status", hidden: true });
  stage.replaceChildren(
    h("div", { class: "over-top" }, title, how, close),
    h("span", { class: "spinner", "aria-hidden": "true" }),
    told,
    h("div", { class: "controls" }, scrub, h("div", { class: "buttons" }, play, previous, next, sound, time, again, full)),
  );

  scrub.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    scrub.setPointerCapture(event.pointerId);
    screen?.seek(under(event));
  });
  scrub.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    const seconds = under(event);
    tip.hidden = false;
    tip.textContent = clock(seconds, length() < 60);
    scrub.style.setProperty("--at", String(length() ? seconds / length() : 0));
    if (scrub.hasPointerCapture(event.pointerId)) screen?.seek(seconds);
  });
  scrub.addEventListener("pointerleave", () => (tip.hidden = true));
  dialog.addEventListener("keydown", onKey);
  dialog.addEventListener("click", (/** @type {MouseEvent} */ event) => event.target === dialog && closePlayer());
  dialog.addEventListener("close", onClose);
  for (const name of ["pointermove", "keydown", "focusin"]) stage.addEventListener(name, awake);
  listKey(["←", "→"], "in the player: five seconds back, on");
  listKey(["p", "n"], "in the player: previous, next result");
  listKey(["r"], "in the player: this moment again");
  listKey(["f", "m"], "in the player: full screen, sound");

  /** @param {PointerEvent} event */
  function under(event) {
    const box = scrub.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * length();
  }
  return { stage, scrub, played, loaded, band, play, previous, next, sound, again, time, title, how, told };
}

const length = () => screen?.duration || (Number.isFinite(screen?.video.duration) ? /** @type {number} */ (screen?.video.duration) : 0);

function toggle() {
  if (!screen) return;
  if (screen.video.ended) screen.seek(screen.moment.start);
  if (screen.video.paused) screen.play();
  else screen.pause();
}

function mute() {
  if (screen) screen.video.muted = !screen.video.muted;
}

function repeat() {
  if (!screen) return;
  screen.seek(screen.moment.start);
  screen.play();
}

function fullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else parts.stage.requestFullscreen?.().catch(() => null);
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (!screen || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const target = /** @type {HTMLElement} */ (event.target);
  if (target.matches("input:not([type=checkbox], [type=radio]), select, textarea")) return;
  const isButton = target.closest("button, summary, a") !== null;
  const actions = {
    " ": isButton ? null : toggle,
    k: toggle,
    ArrowLeft: () => screen?.seek(screen.video.currentTime - STEP),
    ArrowRight: () => screen?.seek(screen.video.currentTime + STEP),
    ArrowUp: target === parts.scrub ? () => screen?.seek(screen.video.currentTime + STEP) : null,
    ArrowDown: target === parts.scrub ? () => screen?.seek(screen.video.currentTime - STEP) : null,
    Home: target === parts.scrub ? () => screen?.seek(0) : null,
    End: target === parts.scrub ? () => screen?.seek(length()) : null,
    n: () => step(1),
    p: () => step(-1),
    r: repeat,
    f: fullscreen,
    m: mute,
  };
  const action = actions[/** @type {keyof actions} */ (event.key)];
  if (!action) return;
  action();
  event.preventDefault();
}

function onClose() {
  screen?.close();
  prepared?.close();
  screen = prepared = list = null;
  isFinal = false;
  tell(null, false);
  if (document.fullscreenElement) document.exitFullscreen();
}

/** Controls go while nobody moves and it plays. */
function awake() {
  parts.stage.classList.remove("asleep");
  clearTimeout(idle);
  idle = window.setTimeout(() => parts.stage.classList.toggle("asleep", Boolean(screen && !screen.video.paused && parts.told.hidden)), HIDDEN_AFTER);
}

// --- drawing ---

/** @param {string} name of the video's event */
function onVideo(name) {
  if (!screen) return;
  if (name === "waiting" || name === "seeking") parts.stage.classList.add("waits");
  if (name === "playing" || name === "seeked") parts.stage.classList.remove("waits");
  if (name === "volumechange") volume = { level: screen.video.volume, muted: screen.video.muted };
  if (["play", "pause", "ended"].includes(name)) awake();
  draw();
}

function draw() {
  if (!screen) return;
  const { moment, video } = screen;
  const whole = length();
  setIcon(parts.play, video.paused ? "play" : "pause", video.paused ? "Play" : "Pause");
  setIcon(parts.sound, video.muted ? "silent" : "sound", video.muted ? "Sound on" : "Sound off");
  parts.title.textContent = `${list ? `${list.at + 1} of ${list.shown.length} · ` : ""}${splitPath(moment.id)[0]}${moment.end === null ? "" : ` · ${span(moment.start, moment.end)}`}`;
  parts.how.textContent = { remux: "repacked", transcode: "converted" }[screen.kind] ?? "";
  parts.how.title = screen.reason;
  parts.previous.disabled = list ? list.at === 0 : !neighbour(-1);
  parts.next.disabled = list ? false : !neighbour(1);
  parts.again.hidden = moment.end === null;
  parts.scrub.setAttribute("aria-valuemax", String(Math.round(whole)));
  place(parts.band, moment.start, moment.end ?? moment.start, whole);
  const { buffered, currentTime } = video;
  let end = currentTime;
  for (let index = 0; index < buffered.length; index++) if (buffered.start(index) <= currentTime + 0.2) end = Math.max(end, buffered.end(index));
  place(parts.loaded, 0, end, whole);
  drawTime();
}

function drawTime() {
  if (!screen) return;
  const whole = length();
  const now = screen.video.currentTime;
  const text = `${clock(Math.floor(now))} / ${clock(whole)}`;
  if (parts.time.textContent !== text) {
    parts.time.textContent = text;
    parts.scrub.setAttribute("aria-valuenow", String(Math.floor(now)));
    parts.scrub.setAttribute("aria-valuetext", `${clock(Math.floor(now))} of ${clock(whole)}`);
  }
  dialog.style.setProperty("--played", String(whole ? Math.min(now / whole, 1) : 0));
}

/** @param {HTMLElement} element @param {number} start @param {number} end @param {number} whole */
function place(element, start, end, whole) {
  element.style.setProperty("--from", String(whole ? start / whole : 0));
  element.style.setProperty("--to", String(whole ? Math.min(end / whole, 1) : 0));
}

/** @param {HTMLElement} button @param {any} name @param {string} label */
function setIcon(button, name, label) {
  if (button.title === label) return;
  button.title = label;
  button.setAttribute("aria-label", label);
  button.replaceChildren(icon(name));
}
