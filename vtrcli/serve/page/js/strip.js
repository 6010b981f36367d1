// The heat strip under a video: how well the query matches over its whole length. A click plays from there; with the
// keyboard it is a slider: arrows move, Enter plays.

import { h, svg } from "./dom.js";
import { clock } from "./format.js";

const STEP = 0.02; // of the length, per arrow key

/**
 * @param {{values: number[], duration: number, moments: {start_seconds: number, end_seconds: number}[], label: string,
 *   onPlay: (seconds: number) => void}} options values: 0..100, evenly over the length; the first moment is the brightest
 */
export function heatStrip({ values, duration, moments, label, onPlay }) {
  const cursor = h("span", { class: "cursor", hidden: true });
  const time = h("span", { class: "tip", hidden: true });
  const element = h(
    "div",
    {
      class: "strip",
      role: "slider",
      tabindex: 0,
      "aria-label": `Where it matches in ${label}`,
      "aria-valuemin": 0,
      "aria-valuemax": Math.round(duration),
    },
    curve(values, duration, moments),
    cursor,
    time,
  );
  let seconds = moments[0]?.start_seconds ?? 0;

  /** @param {number} wanted @param {boolean} isShown */
  function moveTo(wanted, isShown) {
    seconds = Math.min(Math.max(wanted, 0), duration);
    const match = values[Math.min(Math.floor((seconds / duration) * values.length), values.length - 1)];
    element.style.setProperty("--at", String(seconds / duration));
    element.setAttribute("aria-valuenow", String(Math.round(seconds)));
    element.setAttribute("aria-valuetext", `${clock(seconds, duration < 60)} of ${clock(duration)}, match ${Math.round(match)} of 100`);
    time.textContent = clock(seconds, duration < 60);
    cursor.hidden = time.hidden = !isShown;
  }

  /** @param {PointerEvent | MouseEvent} event */
  const under = (event) => {
    const box = element.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * duration;
  };
  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const moves = { ArrowLeft: -STEP, ArrowDown: -STEP, ArrowRight: STEP, ArrowUp: STEP, PageDown: -5 * STEP, PageUp: 5 * STEP };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) moveTo(seconds + moves[/** @type {keyof moves} */ (event.key)] * duration, true);
    else if (event.key === "Home") moveTo(0, true);
    else if (event.key === "End") moveTo(duration, true);
    else if (event.key === "Enter" || event.key === " ") onPlay(seconds);
    else return;
    event.preventDefault();
    event.stopPropagation(); // the grid moves by arrows, too
  }
  element.addEventListener("pointermove", (event) => moveTo(under(event), true));
  element.addEventListener("pointerleave", () => moveTo(seconds, document.activeElement === element));
  element.addEventListener("focus", () => moveTo(seconds, element.matches(":focus-visible")));
  element.addEventListener("blur", () => moveTo(seconds, false));
  element.addEventListener("click", (event) => onPlay(Math.min(Math.max(under(event), 0), duration)));
  element.addEventListener("keydown", onKey);
  moveTo(seconds, false);
  return element;
}

/** The curve twice: quiet over the whole length, bright where the moments are. */
function curve(/** @type {number[]} */ values, /** @type {number} */ duration, /** @type {{start_seconds: number, end_seconds: number}[]} */ moments) {
  const heights = values.map((value) => 100 - Math.max(4, Math.min(value, 100)));
  const line = heights.map((y, index) => `L${(((index + 0.5) / values.length) * 1000).toFixed(1)} ${y}`).join("");
  const d = `M0 100L0 ${heights[0]}${line}L1000 ${heights.at(-1)}L1000 100Z`;
  const bands = moments.map(({ start_seconds: start, end_seconds: end }, index) => {
    const x = (start / duration) * 1000;
    return svg("svg", { x, y: 0, width: Math.max(((end - start) / duration) * 1000, 8), height: 100, viewBox: `${x} 0 ${Math.max(((end - start) / duration) * 1000, 8)} 100`, preserveAspectRatio: "none", class: index ? "band also" : "band" }, svg("path", { d }));
  });
  return svg("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true", class: "curve" }, svg("path", { d, class: "all" }), ...bands);
}
