// Moments picked into a list: in the order that you give them, kept while the tab is open, played one after the other,
// and exported as clips, a timeline or a table.

import { ApiError, postJson, thumbnailUrl } from "./api.js";
import { byId, h, icon, iconButton } from "./dom.js";
import { clock, count, span, splitPath } from "./format.js";
import { playAll } from "./player.js";
import { inWords, parsePlace } from "./state.js";

const KEY = "vtr-picks";
const MAX_PICKS = 500; // as many as an export takes
const KINDS = [
  ["clips", "Clips (MP4)"],
  ["edl", "EDL"],
  ["otio", "OpenTimelineIO"],
  ["fcpxml", "Final Cut Pro XML"],
  ["xml", "Premiere XML"],
  ["csv", "Table (CSV)"],
];

/** @typedef {{store: string | null, id: string, path: string | null, start: number, end: number, query: string, score: number | null}} Pick */

/** @param {any} page what main.js gives its additions */
export function createPicks(page) {
  /** @type {Pick[]} */
  let picks = stored();
  let isOpen = false;

  const status = h("p", { class: "picks-status", role: "status" });
  const list = h("ol", { class: "picks-list", id: "picks-list", "aria-label": "Picked moments" });
  const number = h("button", { type: "button", class: "picks-count", "aria-controls": "picks-list", onclick: () => ((isOpen = !isOpen), show()) });
  const kind = /** @type {HTMLSelectElement} */ (h("select", { "aria-label": "Kind of export" }, ...KINDS.map(([value, text]) => h("option", { value }, text))));
  const exporting = /** @type {HTMLButtonElement} */ (h("button", { type: "button", class: "button", onclick: exportAll }, "Export"));
  const tray = h(
    "section",
    { class: "picks", "aria-label": "Picked moments" },
    list,
    status,
    h(
      "div",
      { class: "picks-bar" },
      number,
      h("button", { type: "button", class: "button", onclick: () => playAll(picks.map(asResult)) }, icon("play"), "Play all"),
      h("span", { class: "picks-export" }, kind, exporting),
      iconButton("close", "Empty the list", () => set([], "The list is empty")),
    ),
  );
  document.body.append(tray);

  /** @param {Pick} pick */
  const keyOf = (pick) => [pick.store, pick.id, pick.start.toFixed(2), pick.end.toFixed(2)].join("\n");
  /** @param {Pick} pick */
  const has = (pick) => picks.some((other) => keyOf(other) === keyOf(pick));

  /** @param {Pick} pick */
  function toggle(pick) {
    if (has(pick)) set(picks.filter((other) => keyOf(other) !== keyOf(pick)), "Taken from the list");
    else if (picks.length >= MAX_PICKS) tell(`The list holds ${MAX_PICKS} moments at most.`);
    else set([...picks, pick], `Picked, ${count(picks.length + 1, "moment")} in the list`);
  }

  /** @param {Pick[]} wanted @param {string} announced */
  function set(wanted, announced) {
    picks = wanted;
    try {
      sessionStorage.setItem(KEY, JSON.stringify(picks));
    } catch {
      // without room the list lives as long as the page
    }
    tell("");
    show();
    page.announce(announced);
  }

  /** @param {number} from @param {number} to */
  function move(from, to) {
    const wanted = [...picks];
    wanted.splice(to, 0, ...wanted.splice(from, 1));
    set(wanted, `Now number ${to + 1}`);
    const buttons = /** @type {HTMLButtonElement[]} */ ([...list.children[to].querySelectorAll("button")]);
    (buttons.find((button) => button.dataset.move === (to < from ? "up" : "down") && !button.disabled) ?? buttons[0]).focus();
  }

  /** @param {string} text @param {string[]} [more] */
  function tell(text, more = []) {
    status.replaceChildren(text, ...(more.length ? [h("ul", {}, ...more.map((line) => h("li", {}, line)))] : []));
    status.hidden = !text;
  }

  function show() {
    tray.hidden = !picks.length;
    document.documentElement.classList.toggle("has-picks", picks.length > 0);
    if (!picks.length) isOpen = false;
    list.hidden = !isOpen;
    number.setAttribute("aria-expanded", String(isOpen));
    number.replaceChildren(icon("pick"), `${picks.length} picked`, h("span", { class: "quiet" }, ` · ${clock(picks.reduce((sum, pick) => sum + pick.end - pick.start, 0))}`));
    list.replaceChildren(...(isOpen ? picks.map(row) : []));
    for (const button of document.querySelectorAll("[data-pick]")) press(/** @type {HTMLElement} */ (button));
  }

  /** @param {Pick} pick @param {number} index */
  function row(pick, index) {
    const name = splitPath(pick.path || pick.id)[0];
    const mover = (/** @type {"up" | "down"} */ way, /** @type {number} */ to) => {
      const button = iconButton(way, `Move ${name} ${way}`, () => move(index, to));
      button.dataset.move = way;
      /** @type {HTMLButtonElement} */ (button).disabled = to < 0 || to >= picks.length;
      return button;
    };
    const picture = h("img", { src: thumbnailUrl(pick.id, pick.store, (pick.start + pick.end) / 2, 160), alt: "", loading: "lazy" });
    picture.addEventListener("error", () => picture.remove());
    return h(
      "li",
      {},
      h("button", { type: "button", class: "picks-moment", onclick: () => playAll([asResult(pick)]) }, h("span", { class: "picks-picture" }, picture), h("span", {}, h("b", {}, name), h("span", { class: "quiet" }, ` ${span(pick.start, pick.end)}`), h("span", { class: "quiet line" }, pick.query))),
      mover("up", index - 1),
      mover("down", index + 1),
      iconButton("close", `Take ${name} from the list`, () => set(picks.filter((_, place) => place !== index), "Taken from the list")),
    );
  }

  async function exportAll() {
    exporting.disabled = true;
    const [, word] = KINDS.find(([value]) => value === kind.value) ?? KINDS[0];
    tell(`Making ${word} of ${count(picks.length, "moment")} …`);
    const moments = picks.map(({ store, id, start, end, query, score }) => ({ store, id, start_seconds: start, end_seconds: end, query, score }));
    try {
      const response = await postJson("/api/export", { kind: kind.value, moments });
      const report = JSON.parse(response.headers.get("x-vtr-export") ?? "{}");
      save(await response.blob(), nameIn(response.headers.get("content-disposition")) ?? `moments.${kind.value}`);
      const failures = (report.failures ?? []).map((/** @type {any} */ one) => `number ${one.number}, ${splitPath(one.video_id)[0]}: ${one.reason}, ${one.detail}`);
      const left = report.num_failed ? `; ${count(report.num_failed, "moment")} left out` : "";
      tell(`${word}: ${count(report.num_exported ?? moments.length, "moment")} exported${left}.`, [...failures, ...(report.notes ?? [])]);
    } catch (error) {
      const parts = error instanceof ApiError ? error.parts : { came_in: "the server does not answer", allowed: "", to_do: "try again" };
      tell(`Nothing was exported: ${parts.came_in}.`, [parts.allowed, parts.to_do].filter(Boolean));
    } finally {
      exporting.disabled = false;
    }
  }

  /** A button that says whether its moment is in the list. @param {HTMLElement} button */
  function press(button) {
    const pick = pickOf.get(button)?.();
    if (pick) button.setAttribute("aria-pressed", String(has(pick)));
  }

  /** @type {WeakMap<HTMLElement, () => Pick | null>} */
  const pickOf = new WeakMap();
  /** @param {HTMLElement} button @param {() => Pick | null} now @returns {HTMLElement} */
  function pickButton(button, now) {
    pickOf.set(button, now);
    button.dataset.pick = "";
    button.addEventListener("click", () => {
      const pick = now();
      if (pick) toggle(pick);
    });
    press(button);
    return button;
  }

  const words = () => inWords(page.state(), (text) => splitPath(parsePlace(text).id)[0]);
  /** @param {import("./api.js").Result} result @returns {Pick} */
  const ofResult = (result) => ({ store: page.store(), id: result.video_id, path: result.path, start: result.start_seconds, end: result.end_seconds, query: words(), score: result.chain ? null : result.score });

  page.attach({
    card(/** @type {import("./api.js").Result} */ result, /** @type {HTMLElement} */ card) {
      const button = pickButton(iconButton("pick", "Pick for the list", () => {}), () => ofResult(result));
      onPicture(card).append(h("li", {}, button));
    },
    health: show, // which store it is that results are of
  });
  page.addCardKey("p", "pick for the list", (/** @type {HTMLElement} */ card) => {
    const result = page.resultAt(card);
    if (result) toggle(ofResult(result));
  });
  show();

  return {
    /** A button for the span that the player shows. @param {() => {id: string, start: number, end: number} | null} now */
    button: (now) =>
      pickButton(h("button", { type: "button", class: "button", "aria-pressed": "false" }, icon("pick"), "Pick"), () => {
        const moment = now();
        const result = moment && page.results().find((/** @type {any} */ one) => one.video_id === moment.id);
        return moment && { store: page.store(), id: moment.id, path: result?.path ?? null, start: moment.start, end: moment.end, query: words(), score: null };
      }),
    show,
  };
}

/** The buttons on a card's picture. @param {HTMLElement} card @returns {HTMLElement} */
export function onPicture(card) {
  const frames = /** @type {HTMLElement} */ (card.querySelector(".frames"));
  const there = /** @type {HTMLElement | null} */ (frames.querySelector(".on-picture"));
  if (there) return there;
  const menu = h("menu", { class: "on-picture", "aria-label": "Pick and mark" });
  frames.append(menu);
  return menu;
}

/** @returns {Pick[]} */
function stored() {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    const isPick = (/** @type {any} */ pick) => typeof pick?.id === "string" && Number.isFinite(pick.start) && Number.isFinite(pick.end);
    return Array.isArray(found) ? found.filter(isPick).slice(0, MAX_PICKS) : [];
  } catch {
    return [];
  }
}

/** As the player takes it. @param {Pick} pick @returns {any} */
const asResult = (pick) => ({ tab: pick.store, store: null, video_id: pick.id, path: pick.path, start_seconds: pick.start, end_seconds: pick.end, peak_seconds: (pick.start + pick.end) / 2, moments: [] });

/** @param {Blob} blob @param {string} name */
function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** The name in a Content-Disposition. @param {string | null} header */
function nameIn(header) {
  const [, name] = header?.match(/filename\*=UTF-8''([^;]+)/) ?? [];
  return name ? decodeURIComponent(name) : null;
}
