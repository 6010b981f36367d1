// One tab for each store that is served; nothing where there is one.

import { byId, h } from "./dom.js";
import { count } from "./format.js";

/** @param {{onStore: (name: string) => void}} listeners */
export function createTabs({ onStore }) {
  const list = byId("stores");
  let names = /** @type {string[]} */ ([]);

  list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const tabs = [...list.children];
    const from = tabs.indexOf(/** @type {Element} */ (event.target));
    const to = tabs[(from + step + tabs.length) % tabs.length];
    to.focus();
    to.click();
  });

  return {
    /** @param {{name: string, num_videos: number}[]} stores @param {string} current */
    show(stores, current) {
      list.hidden = stores.length < 2;
      if (list.hidden) return;
      const focused = list.contains(document.activeElement) ? document.activeElement?.getAttribute("data-store") : null;
      names = stores.map((store) => store.name);
      const chosen = names.includes(current) ? current : names[0];
      list.replaceChildren(
        ...stores.map((store) =>
          h(
            "button",
            {
              type: "button",
              role: "tab",
              "data-store": store.name,
              "aria-selected": String(store.name === chosen),
              "aria-controls": "results",
              tabindex: store.name === chosen ? 0 : -1,
              onclick: () => onStore(store.name === names[0] ? "" : store.name),
            },
            store.name,
            h("span", { class: "quiet", title: count(store.num_videos, "video") }, store.num_videos.toLocaleString("en")),
          ),
        ),
      );
      if (focused !== null) /** @type {HTMLElement | null} */ ([...list.children].find((tab) => tab.getAttribute("data-store") === focused))?.focus();
    },
  };
}
