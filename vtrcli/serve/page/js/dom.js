// Elements by construction: text is always text, so a file's name never becomes markup.

/**
 * One element. `class`, `data-…`, `aria-…` and other attributes by name; `on…` functions are listeners; null, undefined
 * and false leave an attribute out. Children are nodes or texts; null is left out.
 * @param {string} name
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string | number | null | undefined | false)} children
 * @returns {HTMLElement}
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(key, value === true ? "" : String(value));
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false).map(asNode));
  return element;
}

/** @param {Node | string | number} child */
const asNode = (child) => (child instanceof Node ? child : document.createTextNode(visible(String(child))));

/**
 * Control characters and lone surrogates (a file's name may hold both) as visible escapes, as on the command line.
 * Marks that turn the direction of writing are such, too: with them a name can pretend to be another.
 * @param {string} text
 */
export function visible(text) {
  return text.replace(/[\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069]/gu, (character) =>
    /[\t\n\r]/.test(character) ? " " : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} name @param {Record<string, string | number>} attributes @param {...Node} children */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

// Lines on a grid of 24, drawn for this page.
const ICONS = {
  again: "M5 12a7 7 0 1 0 2.500-5.300M5 4v4.500h4.500",
  check: "M5 12.500l4.500 4.500L19 7.500",
  close: "M6 6l12 12M18 6L6 18",
  down: "M12 5v14M6 13l6 6 6-6",
  full: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  filters: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.500v5M9 14.500v5",
  help: "M9 9.200a3 3 0 1 1 4.300 2.700c-.9.500-1.300 1-1.300 2.100M12 17.500v.01",
  inside: "M3 6h18v8H3zM5 18h2M10 18h4M17 18h2",
  like: "M4 4h9v9H4zM11 17v3h9v-9h-3",
  minus: "M5 12h14",
  moon: "M19.500 14.500A8 8 0 0 1 9.500 4.500a8 8 0 1 0 10 10z",
  pick: "M7 4h10v16l-5-4-5 4z",
  next: "M6 5.500v13l9.500-6.500zM18 5.500v13",
  pause: "M8.500 5.500v13M15.500 5.500v13",
  previous: "M18 5.500v13L8.500 12zM6 5.500v13",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 2.500-2.500L20 17M15.500 9v.01",
  play: "M8 5.500v13l10.500-6.500z",
  plus: "M12 5v14M5 12h14",
  right: "M5 12h14M13 6l6 6-6 6",
  search: "M10.500 4a6.500 6.500 0 1 1 0 13 6.500 6.500 0 0 1 0-13zM15.500 15.500L20 20",
  silent: "M4 9.500v5h3.500L12 18.500v-13L7.500 9.500zM16 9.500l5 5M21 9.500l-5 5",
  sound: "M4 9.500v5h3.500L12 18.500v-13L7.500 9.500zM15.500 9a4.500 4.500 0 0 1 0 6M18 6.500a8 8 0 0 1 0 11",
  sun: "M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8zM12 2.500v2M12 19.500v2M2.500 12h2M19.500 12h2M5.300 5.300l1.400 1.400M17.300 17.300l1.400 1.400M5.300 18.700l1.400-1.400M17.300 6.700l1.400-1.400",
  undo: "M9 14L4 9l5-5M4 9h10a5.500 5.500 0 0 1 0 11h-3",
  up: "M12 19V5M6 11l6-6 6 6",
};

/**
 * A picture for a button; the button has the words.
 * @param {keyof typeof ICONS} name
 */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", class: "glyph" }, svg("path", { d: ICONS[name] }));
}

/**
 * A button that shows an icon and says its words to who cannot see it.
 * @param {keyof typeof ICONS} name @param {string} label @param {(event: MouseEvent) => void} onclick
 */
export function iconButton(name, label, onclick) {
  return h("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick }, icon(name));
}
