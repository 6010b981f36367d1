// "More in this video": under the player the strip of the whole video, and its moments for the same query.

import { thumbnailUrl, videoFacts } from "./api.js";
import { byId, h } from "./dom.js";
import { span, splitPath } from "./format.js";
import { parameters } from "./state.js";
import { heatStrip } from "./strip.js";

const WIDTH = 240; // pixels of a moment's picture

/** @param {{onPlay: (id: string, start: number, end: number | null) => void}} listeners */
export function createInside({ onPlay }) {
  const section = byId("player-inside");
  let controller = new AbortController();

  return {
    /** @param {{id: string, store: string | null}} video @param {import("./state.js").State} state */
    async show({ id, store }, state) {
      controller.abort();
      const own = (controller = new AbortController());
      const key = JSON.stringify([id, store, parameters(state)]);
      if (section.dataset.key === key) return;
      section.dataset.key = "";
      section.replaceChildren();
      let facts;
      try {
        facts = await videoFacts(id, store, parameters(state), own.signal);
      } catch {
        return; // the player itself says what is wrong with the video
      }
      if (own !== controller) return;
      section.dataset.key = key;
      const moments = facts.moments ?? [];
      const name = splitPath(facts.path || id)[0];
      section.replaceChildren(
        ...(facts.strip && facts.duration_seconds
          ? [heatStrip({ values: facts.strip, duration: facts.duration_seconds, moments, label: name, onPlay: (seconds) => onPlay(id, seconds, null) })]
          : []),
        ...(moments.length ? [h("h2", {}, "More in this video"), h("ol", { class: "moments" }, ...moments.map(moment))] : []),
      );

      /** @param {import("./api.js").Moment} found */
      function moment(found) {
        const when = span(found.start_seconds, found.end_seconds);
        return h(
          "li",
          {},
          h(
            "button",
            { type: "button", class: "play", "aria-label": `Play from ${when}`, onclick: () => onPlay(id, found.start_seconds, found.end_seconds) },
            h("img", { src: thumbnailUrl(id, store, found.peak_seconds, WIDTH), alt: "", loading: "lazy", decoding: "async" }),
            h("span", { class: "time" }, when),
          ),
        );
      }
    },
  };
}
