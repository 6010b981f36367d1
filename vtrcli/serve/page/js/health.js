// How the server is: asked now and then, more often while a store is being extracted or waits for its first video, and
// with growing pauses while it is gone. A hidden page asks nothing.

import { ApiError, health } from "./api.js";

const CALM_SECONDS = 30;
const CHANGING_SECONDS = 2;
const LONGEST_PAUSE_SECONDS = 15;

/**
 * @param {{onHealth: (health: any) => void, onGone: (secondsToNext: number) => void, onBack: () => void}} listeners
 */
export function watchHealth({ onHealth, onGone, onBack }) {
  let timer = 0;
  let isGone = false;
  let pause = 1;

  async function look() {
    clearTimeout(timer);
    let wait = CALM_SECONDS;
    try {
      const found = await health(AbortSignal.timeout(10_000));
      pause = 1;
      if (found.stores.some((/** @type {any} */ store) => store.is_extracting || !store.num_videos)) wait = CHANGING_SECONDS;
      const wasGone = isGone;
      isGone = false;
      onHealth(found);
      if (wasGone) onBack();
    } catch (error) {
      if (!(error instanceof ApiError)) {
        isGone = true;
        wait = pause;
        pause = Math.min(pause * 2, LONGEST_PAUSE_SECONDS);
        onGone(wait);
      }
    }
    timer = setTimeout(look, wait * 1000);
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) look();
  });
  addEventListener("online", () => isGone && look());
  look();

  return {
    look,
    /** Somebody else found the server gone. */
    suspect() {
      if (!isGone) look();
    },
    isGone: () => isGone,
  };
}
