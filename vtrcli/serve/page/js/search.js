// Asks while somebody types: a short wait, one question at a time, and an older answer never replaces a newer one.

import { search } from "./api.js";
import { parameters } from "./state.js";

export const WAIT_MILLISECONDS = 60; // about half the time between two keys of a fast typist

/**
 * @param {{onAnswer: (answer: import("./api.js").Answer, state: import("./state.js").State, isMore: boolean) => void,
 *   onError: (error: Error, state: import("./state.js").State) => void, onBusy: (isBusy: boolean) => void}} listeners
 */
export function createSearch({ onAnswer, onError, onBusy }) {
  let timer = 0;
  let keyAt = -Infinity;
  let controller = new AbortController();
  /** @type {{state: import("./state.js").State, token: string} | null} */
  let next = null;

  /** @param {import("./state.js").State} state @param {string | null} token */
  async function ask(state, token) {
    timer = 0;
    controller.abort();
    const own = (controller = new AbortController());
    try {
      const answer = await search(parameters(state), { token, signal: own.signal });
      if (own !== controller) return;
      next = answer.next_page_token ? { state, token: answer.next_page_token } : null;
      onAnswer(answer, state, token !== null);
    } catch (error) {
      if (own === controller) onError(/** @type {Error} */ (error), state);
    } finally {
      if (own === controller && !timer) onBusy(false);
    }
  }

  return {
    /** @param {import("./state.js").State} state @param {{isTyping?: boolean}} [options] */
    start(state, { isTyping = false } = {}) {
      clearTimeout(timer);
      next = null;
      onBusy(true);
      // The first key after a pause asks at once; those of a burst wait for each other.
      const isBurst = isTyping && performance.now() - keyAt < 3 * WAIT_MILLISECONDS;
      if (isTyping) keyAt = performance.now();
      if (isBurst) timer = setTimeout(ask, WAIT_MILLISECONDS, state, null);
      else ask(state, null);
    },
    /** The next page, if there is one and it is not on its way. */
    more() {
      if (next === null) return;
      const { state, token } = next;
      next = null;
      onBusy(true);
      ask(state, token);
    },
    hasMore: () => next !== null,
    stop() {
      clearTimeout(timer);
      timer = 0;
      controller.abort();
      controller = new AbortController();
      next = null;
      onBusy(false);
    },
  };
}
