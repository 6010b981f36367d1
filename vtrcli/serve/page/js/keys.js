// Keys that work anywhere on the page, and the list of all of them. Letters work on the card that has the focus, so that
// nothing happens by a slip of the hand while nothing is chosen.

import { byId, h, iconButton } from "./dom.js";

/** @type {{keys: string[], does: string}[]} */
const LISTED = [
  { keys: ["/"], does: "to the search field" },
  { keys: ["↓"], does: "from the search field to the results" },
  { keys: ["←", "→", "↑", "↓"], does: "from result to result" },
  { keys: ["Enter"], does: "play the moment" },
  { keys: ["Space"], does: "pause and go on" },
  { keys: ["Esc"], does: "close; in the search field: clear" },
];
/** @type {Map<string, (card: HTMLElement) => void>} */
const cardKeys = new Map();

/**
 * A key for the card that has the focus.
 * @param {string} key one letter @param {string} does what it does, for the list @param {(card: HTMLElement) => void} action
 */
export function addCardKey(key, does, action) {
  cardKeys.set(key, action);
  LISTED.push({ keys: [key], does });
}

/** @param {string[]} keys @param {string} does for the list alone, such as keys of the player */
export function listKey(keys, does) {
  LISTED.push({ keys, does });
}

/** @param {{focusSearch: () => void, clearSearch: () => void, focusResults: () => void}} actions */
export function listenToKeys({ focusSearch, clearSearch, focusResults }) {
  const input = byId("q");
  const help = byId("help");
  const showHelp = () => {
    help.replaceChildren(...helpContent(() => help.close()));
    help.showModal();
  };
  byId("help-button").addEventListener("click", showHelp);
  help.addEventListener("click", (/** @type {MouseEvent} */ event) => event.target === help && help.close());

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
    const target = /** @type {HTMLElement} */ (event.target);
    const isTyping = target.matches("input:not([type=checkbox]):not([type=range]):not([type=radio]), select, textarea");
    if (event.key === "Escape" && target === input) clearSearch();
    else if (event.key === "ArrowDown" && target === input) focusResults();
    else if (isTyping && !(event.key === "/" && target === input && input.value === "")) return;
    else if (event.key === "/") focusSearch();
    else if (event.key === "?") showHelp();
    else {
      const card = /** @type {HTMLElement | null} */ (target.closest(".card"));
      const action = card && cardKeys.get(event.key);
      if (!action) return;
      action(card);
    }
    event.preventDefault();
  });
}

/** @param {() => void} close */
function helpContent(close) {
  const rows = LISTED.flatMap(({ keys, does }) => [h("dt", {}, ...keys.map((key) => h("kbd", {}, key))), h("dd", {}, does)]);
  return [h("header", {}, h("h2", { id: "help-title" }, "Keys"), iconButton("close", "Close", close)), h("dl", {}, ...rows)];
}
