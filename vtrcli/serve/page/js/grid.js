// The results: cards stay where they are when they are found again, so typing does not flicker; arrow keys move among
// them, and only one of them is in the order of the Tab key.

import { keyOf, makeCard } from "./card.js";
import { commonFolder, splitPath } from "./format.js";

const FOCUSABLE = "button, a[href], input, select, [role=slider]";

/**
 * @param {HTMLElement} list
 * @param {{onPlay: (result: any, start: number, end: number | null) => void,
 *   onCard: (result: import("./api.js").Result, card: HTMLElement, menu: HTMLElement) => void, onLeaveTop: () => void}} listeners
 */
export function createGrid(list, { onPlay, onCard, onLeaveTop }) {
  /** @type {import("./api.js").Result[]} */
  let results = [];
  /** @type {Map<string, HTMLElement>} */
  let cards = new Map();
  /** @type {WeakMap<Element, import("./api.js").Result>} */
  const resultOf = new WeakMap();

  /** @param {import("./api.js").Result[]} found @param {string | null} store @param {{isMore: boolean, query: string}} options */
  function show(found, store, { isMore, query }) {
    results = isMore ? [...results, ...found] : found;
    const best = Math.max(...results.map((result) => result.score));
    const root = commonFolder(results.map((result) => splitPath(result.path || result.video_id)[1]));
    const kept = isMore ? new Map(cards) : new Map();
    for (const result of found) {
      // The same moment of another query has another strip: what is kept is the picture, which is what would flicker.
      const key = keyOf(result);
      const card = makeCard(result, { best, root, store, onPlay });
      keepPictures(cards.get(key), card);
      card.dataset.key = `${query}\n${key}`;
      onCard(result, card, /** @type {HTMLElement} */ (card.querySelector(".actions")));
      setTabbable(card, false);
      resultOf.set(card, result);
      kept.set(key, card);
    }
    const focused = list.contains(document.activeElement) && !isMore;
    cards = kept;
    list.replaceChildren(...cards.values());
    if (!isMore && list.firstElementChild) setTabbable(list.firstElementChild, true);
    if (focused) /** @type {HTMLElement | null} */ (list.querySelector(".play"))?.focus();
  }

  /** @param {Element} card */
  function enter(card) {
    for (const other of list.children) if (other !== card) setTabbable(other, false);
    setTabbable(card, true);
  }

  list.addEventListener("focusin", (event) => {
    const card = /** @type {Element} */ (event.target).closest(".card");
    if (card) enter(card);
  });
  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const buttons = /** @type {HTMLElement[]} */ ([...list.querySelectorAll(".play")]);
    const from = buttons.indexOf(/** @type {HTMLElement} */ (event.target));
    if (from < 0) return;
    const to = target(buttons, from, event.key);
    if (to === null) return;
    event.preventDefault();
    if (to === "top") onLeaveTop();
    else buttons[to].focus();
  });

  return {
    show,
    clear() {
      results = [];
      cards = new Map();
      list.replaceChildren();
    },
    results: () => results,
    /** @param {Element} element */
    resultAt: (element) => resultOf.get(/** @type {Element} */ (element.closest?.(".card"))) ?? null,
    focusFirst: () => /** @type {HTMLElement | null} */ (list.querySelector(".play"))?.focus(),
  };
}

/** @param {HTMLElement | undefined} old @param {HTMLElement} card */
function keepPictures(old, card) {
  if (!old) return;
  const before = old.querySelectorAll("img");
  card.querySelectorAll("img").forEach((image, index) => {
    if (before[index]?.getAttribute("src") === image.getAttribute("src")) image.replaceWith(before[index]);
  });
}

/** @param {Element} card @param {boolean} isTabbable */
function setTabbable(card, isTabbable) {
  for (const element of card.querySelectorAll(FOCUSABLE)) /** @type {HTMLElement} */ (element).tabIndex = isTabbable ? 0 : -1;
}

/**
 * The card that a key leads to: left and right in reading order, up and down the nearest one in the next row.
 * @param {HTMLElement[]} buttons @param {number} from @param {string} key @returns {number | "top" | null}
 */
function target(buttons, from, key) {
  if (key === "ArrowRight") return Math.min(from + 1, buttons.length - 1);
  if (key === "ArrowLeft") return Math.max(from - 1, 0);
  if (key === "Home") return 0;
  if (key === "End") return buttons.length - 1;
  if (key !== "ArrowDown" && key !== "ArrowUp") return null;
  const boxes = buttons.map((button) => button.getBoundingClientRect());
  const here = boxes[from];
  const isBeyond = key === "ArrowDown" ? (/** @type {DOMRect} */ box) => box.top >= here.bottom : (/** @type {DOMRect} */ box) => box.bottom <= here.top;
  const tops = boxes.filter(isBeyond).map((box) => box.top);
  if (!tops.length) return key === "ArrowUp" ? "top" : from;
  const row = key === "ArrowDown" ? Math.min(...tops) : Math.max(...tops);
  const middle = here.left + here.width / 2;
  let nearest = from;
  let distance = Infinity;
  boxes.forEach((box, index) => {
    const away = Math.abs(box.left + box.width / 2 - middle);
    if (Math.abs(box.top - row) < 4 && away < distance) [nearest, distance] = [index, away];
  });
  return nearest;
}
