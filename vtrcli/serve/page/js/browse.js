// Some videos of a store, for who has not asked anything yet.

import { thumbnailUrl, videos } from "./api.js";
import { h } from "./dom.js";
import { clock, splitPath } from "./format.js";

const NUM_VIDEOS = 12;
const WIDTH = 480; // pixels of a picture

/**
 * A section that fills itself; empty where the list cannot be had.
 * @param {{name: string, num_videos: number}} store @param {(id: string, start: number, end: number | null) => void} onPlay
 */
export function browse(store, onPlay) {
  const list = h("ul", { class: "grid" });
  const section = h("section", { class: "browse", hidden: true }, h("h2", {}, "In this store"), list);
  videos(store.name, NUM_VIDEOS)
    .then((page) => {
      list.replaceChildren(...page.videos.map(video));
      section.hidden = !page.videos.length;
    })
    .catch(() => null); // the start is whole without it, and health says what is wrong

  /** @param {{video_id: string, path: string | null, duration_seconds: number | null}} known */
  function video(known) {
    const [name] = splitPath(known.path || known.video_id);
    const length = known.duration_seconds ? clock(known.duration_seconds) : "";
    const middle = (known.duration_seconds ?? 0) / 2;
    return h(
      "li",
      { class: "card" },
      h(
        "button",
        { type: "button", class: "play", "aria-label": `Play ${name}${length && `, ${length}`}`, onclick: () => onPlay(known.video_id, 0, null) },
        h("img", { src: thumbnailUrl(known.video_id, store.name, middle, WIDTH), alt: "", loading: "lazy", decoding: "async" }),
        length && h("span", { class: "time" }, length),
      ),
      h("p", { class: "name", title: known.path || known.video_id }, name),
    );
  }
  return section;
}
