// Plays a moment in the dialog. `openMoment` shows one, the dialog's event "moment" tells who wants to know.

import { videoUrl } from "./api.js";
import { byId, h, iconButton } from "./dom.js";

/** @typedef {{store: string | null, id: string, start: number, end: number | null}} Shown */

/** @param {Shown} moment */
export function openMoment(moment) {
  const dialog = byId("player");
  const video = /** @type {HTMLVideoElement} */ (
    h("video", { controls: true, autoplay: true, playsinline: true, muted: true, src: `${videoUrl(moment.id, moment.store, [], "/file")}#t=${moment.start}` })
  );
  byId("player-stage").replaceChildren(iconButton("close", "Close", () => dialog.close()), video);
  if (!dialog.open) dialog.showModal();
  dialog.dispatchEvent(new CustomEvent("moment", { detail: moment }));
}

/** @param {import("./api.js").Result[]} results */
export function playAll(results) {
  const [first] = results;
  if (first) openMoment({ store: first.store, id: first.video_id, start: first.start_seconds, end: first.end_seconds });
}

export function closePlayer() {
  const dialog = byId("player");
  if (dialog.open) dialog.close();
}
