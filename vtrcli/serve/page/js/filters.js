// Which videos may be found, and how: the panel under the filters' button. Values are written as on the command line
// (1:30, 2019, 200MB); what is wrong with one the server says.

import { byId, h, icon } from "./dom.js";
import { FILTERS, numFilters } from "./state.js";

const FIELDS = [
  { name: "path", label: "Name or folder", placeholder: "kitchen, *.mp4", wide: true },
  { name: "min_duration", label: "Length from", placeholder: "0:30" },
  { name: "max_duration", label: "to", placeholder: "10:00" },
  { name: "after", label: "Changed from", type: "date" },
  { name: "before", label: "to", type: "date" },
  { name: "min_size", label: "Size from", placeholder: "1MB" },
  { name: "max_size", label: "to", placeholder: "2GB" },
];
const RELEVANCE = { min: -1, max: 6, step: 0.5 }; // the lowest position is off

/** @param {{onChange: (change: Record<string, any>, isTyping: boolean) => void}} listeners */
export function createFilters({ onChange }) {
  const panel = byId("filters");
  const button = byId("filters-button");
  const badge = h("span", { class: "badge", hidden: true });
  button.append(icon("filters"), badge);

  const fields = new Map(FIELDS.map((field) => [field.name, textField(field)]));
  const relevance = /** @type {HTMLInputElement} */ (h("input", { type: "range", id: "f-relevance", ...RELEVANCE }));
  const relevanceValue = h("output", { for: "f-relevance" });
  const perVideo = choice("per_video", "Moments of one video", [["", "3"], ["1", "1"], ["2", "2"], ["5", "5"], ["10", "10"]]);
  const method = choice("method", "Correction", [["", "none"], ["dsl", "dsl"], ["inverted-softmax", "inverted softmax"], ["nnn", "nnn"], ["csls", "csls"]]);
  const missing = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox", id: "f-missing" }));
  const needsBank = h("p", { class: "hint-text", id: "f-bank" }, "Relevance and correction need a query bank: vtr bank build.");

  panel.append(
    ...[...fields.values()].map(({ row }) => row),
    h("div", { class: "field-row wide" }, h("label", { for: "f-relevance" }, "Relevance from"), h("span", { class: "range" }, relevance, relevanceValue)),
    perVideo.row,
    method.row,
    h("div", { class: "field-row check wide" }, missing, h("label", { for: "f-missing" }, "Also videos whose file is gone")),
    h("div", { class: "panel-foot" }, needsBank, h("button", { type: "button", class: "button", id: "filters-clear", onclick: clear }, "Clear filters")),
  );

  relevance.addEventListener("input", () => {
    onChange({ min_relevance: Number(relevance.value) > RELEVANCE.min ? relevance.value : "" }, true);
    showRelevance();
  });
  missing.addEventListener("change", () => onChange({ missing: missing.checked ? "1" : "" }, false));
  panel.addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
  panel.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Escape") return;
    open(false);
    button.focus();
  });
  button.addEventListener("click", () => open(panel.hidden));

  function showRelevance() {
    relevanceValue.textContent = Number(relevance.value) > RELEVANCE.min ? relevance.value : "any";
    relevance.setAttribute("aria-valuetext", relevanceValue.textContent);
  }

  /** @param {boolean} isOpen */
  function open(isOpen) {
    panel.hidden = !isOpen;
    button.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) fields.get("path")?.input.focus();
  }

  function clear() {
    onChange(Object.fromEntries(FILTERS.map((name) => [name, name === "path" ? [] : ""])), false);
  }

  /** @param {typeof FIELDS[number]} field */
  function textField({ name, label, placeholder = "", type = "text", wide = false }) {
    const input = /** @type {HTMLInputElement} */ (h("input", { id: `f-${name}`, type, placeholder, spellcheck: "false", autocapitalize: "off" }));
    input.addEventListener("input", () => {
      const value = input.value.trim();
      onChange({ [name]: name === "path" ? value.split(",").map((part) => part.trim()).filter(Boolean) : value }, true);
    });
    const what = label === "to" ? { "aria-label": `${FIELDS[FIELDS.findIndex((field) => field.name === name) - 1].label.replace(" from", "")} to` } : {};
    for (const [key, text] of Object.entries(what)) input.setAttribute(key, text);
    return { input, row: h("div", { class: `field-row${wide ? " wide" : ""}` }, h("label", { for: input.id }, label), input) };
  }

  /** @param {string} name @param {string} label @param {string[][]} options */
  function choice(name, label, options) {
    const select = /** @type {HTMLSelectElement} */ (h("select", { id: `f-${name}` }, ...options.map(([value, text]) => h("option", { value }, text))));
    select.addEventListener("change", () => onChange({ [name]: select.value }, false));
    return { select, row: h("div", { class: "field-row" }, h("label", { for: select.id }, label), select) };
  }

  return {
    /** @param {import("./state.js").State} state */
    show(state) {
      for (const [name, { input }] of fields) {
        const value = name === "path" ? state.path.join(", ") : state[name];
        if (document.activeElement !== input) input.value = value;
      }
      relevance.value = state.min_relevance || String(RELEVANCE.min);
      showRelevance();
      perVideo.select.value = state.per_video;
      method.select.value = state.method;
      missing.checked = state.missing === "1";
      const number = numFilters(state);
      badge.hidden = number === 0;
      badge.textContent = String(number);
      button.setAttribute("aria-label", number ? `Filters, ${number} set` : "Filters");
    },
    /** What a store without a bank cannot do is said, not hidden. @param {boolean} hasBank */
    setBank(hasBank) {
      relevance.disabled = method.select.disabled = !hasBank;
      needsBank.hidden = hasBank;
    },
    close: () => open(false),
  };
}
