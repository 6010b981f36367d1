// The query: a sentence, and beside it what else it holds, each as a small piece that can be changed or taken away.

import { h, icon, iconButton } from "./dom.js";
import { clock, splitPath } from "./format.js";
import { parsePlace } from "./state.js";

const KINDS = [
  { name: "plus", glyph: "plus", word: "also", add: "Also", hint: "what it must also show" },
  { name: "not", glyph: "minus", word: "without", add: "Without", hint: "what it must not show" },
  { name: "then", glyph: "right", word: "then", add: "Then", hint: "what happens after it" },
];

/**
 * @param {{input: HTMLInputElement, terms: HTMLElement, form: HTMLFormElement,
 *   onChange: (change: Record<string, any>, isTyping: boolean) => void, onEnter: () => void}} options
 */
export function createQuery({ input, terms, form, onChange, onEnter }) {
  /** @type {import("./state.js").State} */
  let state;
  /** Pictures uploaded in this page, by id. @type {Map<string, ImageBitmap>} */
  const pictures = new Map();

  input.addEventListener("input", () => onChange({ q: input.value }, true));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    onEnter();
  });

  /** @param {string} name @param {number} index @param {string | null} value null takes it away */
  function change(name, index, value) {
    const list = [...state[name]];
    if (value === null) list.splice(index, 1);
    else list[index] = value;
    const change = { [name]: list };
    if (name === "then" && !list.length) change.within = "";
    onChange(change, value !== null);
    if (value === null) input.focus();
  }

  /** @param {typeof KINDS[number]} kind @param {string} value @param {number} index */
  function textTerm(kind, value, index) {
    const field = /** @type {HTMLInputElement} */ (
      h("input", { type: "text", "aria-label": kind.hint, placeholder: kind.hint, maxlength: 10000, spellcheck: "false" })
    );
    field.value = value;
    field.addEventListener("input", () => change(kind.name, index, field.value));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Backspace" && !field.value) {
        event.preventDefault();
        change(kind.name, index, null);
      }
    });
    return h("span", { class: "term", "data-term": `${kind.name}-${index}` }, h("span", { class: "word" }, kind.word), field, remove(`${kind.word} ${value}`, () => change(kind.name, index, null)));
  }

  /** @param {string} what @param {() => void} action */
  const remove = (what, action) => iconButton("close", `Take away: ${what}`, action);

  function within() {
    const field = /** @type {HTMLInputElement} */ (
      h("input", { type: "number", min: "0.1", step: "any", inputmode: "decimal", "aria-label": "seconds at most from one moment to the next", placeholder: "any" })
    );
    field.value = state.within;
    field.addEventListener("input", () => onChange({ within: field.value }, true));
    return h("span", { class: "term short", "data-term": "within" }, h("span", { class: "word" }, "within"), field, h("span", { class: "word" }, "s"));
  }

  /** @param {string} id @param {number} index */
  function pictureTerm(id, index) {
    const bitmap = pictures.get(id);
    const canvas = /** @type {HTMLCanvasElement} */ (h("canvas", { width: 64, height: 64, "aria-hidden": "true" }));
    if (bitmap) {
      const side = Math.min(bitmap.width, bitmap.height);
      canvas.getContext("2d")?.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, 64, 64);
    }
    return h("span", { class: "term", "data-term": `image-${index}` }, bitmap ? canvas : icon("picture"), h("span", {}, "picture"), remove("picture", () => change("image", index, null)));
  }

  /** @param {string} text @param {number} index */
  function likeTerm(text, index) {
    const { id, seconds } = parsePlace(text);
    const label = `${splitPath(id)[0]}${seconds === null ? "" : ` at ${clock(seconds)}`}`;
    return h("span", { class: "term", "data-term": `like-${index}` }, h("span", { class: "word" }, "like"), h("span", { class: "label" }, label), remove(`like ${label}`, () => change("like", index, null)));
  }

  /** @param {typeof KINDS[number]} kind */
  function adder(kind) {
    const action = () => {
      onChange({ [kind.name]: [...state[kind.name], ""] }, true);
      /** @type {HTMLElement | null} */ (terms.querySelector(`[data-term="${kind.name}-${state[kind.name].length - 1}"] input`))?.focus();
    };
    return h("button", { type: "button", class: "adder", "data-add": kind.name, title: kind.hint, onclick: action }, icon(/** @type {any} */ (kind.glyph)), kind.add);
  }

  return {
    /** Show a state; a field that is being typed in is left alone. @param {import("./state.js").State} shown */
    show(shown) {
      const shape = shapeOf(shown);
      const isSame = state && shapeOf(state) === shape;
      state = shown;
      if (input.value.trim() !== shown.q.trim()) input.value = shown.q;
      if (isSame && terms.contains(document.activeElement)) return;
      terms.replaceChildren(
        ...shown.image.map(pictureTerm),
        ...shown.like.map(likeTerm),
        ...KINDS.flatMap((kind) => shown[kind.name].map((/** @type {string} */ value, /** @type {number} */ index) => textTerm(kind, value, index))),
        ...(shown.then.length ? [within()] : []),
        h("span", { class: "adders" }, ...KINDS.map(adder)),
      );
    },
    /** @param {string} id @param {ImageBitmap | null} bitmap */
    remember(id, bitmap) {
      if (bitmap) pictures.set(id, bitmap);
    },
    focus() {
      input.focus();
      input.select();
    },
  };
}

/** @param {import("./state.js").State} state */
const shapeOf = (state) => ["image", "like", "plus", "not", "then"].map((name) => state[name].length).join();
