// A video that the server repacks or encodes while it is watched, on a <video> by Media Source Extensions. Times are the
// video's own: whatever is sought and is not there yet is asked for anew, from there.

/** @typedef {{came_in: string, to_do: string}} Told */

const AHEAD = { enough: 30, few: 12 }; // seconds that are buffered: reading stops, and goes on
const KEPT_BEHIND = 30; // seconds behind the playing time that stay when room is needed
const LET_GO_MILLISECONDS = 15000; // so long nothing is wanted: the server's work is given up until it is
const MAX_TRIES = 8;
const GAP = 3; // seconds; a stream may begin so much later than it was asked for

/** What a browser has of it; the iPhone has only the managed one. @type {typeof MediaSource | undefined} */
const Source = /** @type {any} */ (window).ManagedMediaSource ?? window.MediaSource;

/** Whether this browser can play what is made while it is watched. */
export const canStream = () => Boolean(Source);

export class Stream {
  /**
   * @param {HTMLVideoElement} video
   * @param {{url: (seconds: number) => string, duration: number | null, onTold: (told: Told | null, isFinal: boolean) => void,
   *   onRefused: (() => void) | null}} options
   *   onTold: what keeps it waiting, or ended it; null when it goes on; onRefused: the browser does not take what comes
   */
  constructor(video, { url, duration, onTold, onRefused }) {
    this.video = video;
    this.url = url;
    this.duration = duration;
    this.onTold = onTold;
    this.onRefused = onRefused;
    this.source = new /** @type {any} */ (Source)();
    /** @type {SourceBuffer | null} */
    this.buffer = null;
    this.run = new AbortController();
    this.isClosed = false;
    this.tries = 0;
    video.disableRemotePlayback = true; // a managed source opens only so
    const object = URL.createObjectURL(this.source);
    video.src = object;
    /** @type {Promise<void>} */
    this.opened = new Promise((resolve) => this.source.addEventListener("sourceopen", () => resolve(), { once: true }));
    this.opened.then(() => URL.revokeObjectURL(object));
    this.asked = -1; // from where the running answer was asked for; below 0: none is running
    this.onSeeking = () => {
      const to = video.currentTime;
      const isComing = this.asked >= 0 && to >= this.asked - 0.1 && to <= Math.max(this.edge(0), this.asked) + GAP;
      if (!this.isThere(to) && !isComing) this.start(to);
    };
    video.addEventListener("seeking", this.onSeeking);
  }

  /** Play from a time on. @param {number} seconds */
  async start(seconds) {
    this.run.abort();
    const run = (this.run = new AbortController());
    this.asked = seconds;
    await this.opened;
    try {
      while (!run.signal.aborted) {
        this.asked = seconds;
        const next = await this.take(seconds, run.signal);
        if (next === null) break;
        seconds = next;
      }
      if (!run.signal.aborted) this.asked = -1;
    } catch (error) {
      if (run.signal.aborted || this.isClosed) return;
      if (this.onRefused) this.onRefused();
      else this.onTold({ came_in: "this browser cannot play the video", to_do: "use another one, or a player" }, true);
    }
  }

  close() {
    this.isClosed = true;
    this.run.abort();
    this.video.removeEventListener("seeking", this.onSeeking);
    this.video.removeAttribute("src");
    this.video.load();
  }

  /**
   * One answer of the server, as far as it comes.
   * @param {number} seconds @param {AbortSignal} signal @returns {Promise<number | null>} from where to go on; null: it is over
   */
  async take(seconds, signal) {
    let response;
    try {
      response = await fetch(this.url(seconds), { signal, credentials: "same-origin" });
    } catch {
      return this.again(seconds, { came_in: "the server does not answer", to_do: "trying again" }, 2, signal);
    }
    if (!response.ok) {
      const told = (await response.json().catch(() => ({}))).error ?? { came_in: `the server answered ${response.status}`, to_do: "" };
      if (response.status !== 503 && response.status !== 429) return this.end(told, signal);
      return this.again(seconds, { came_in: told.came_in, to_do: "trying again" }, Number(response.headers.get("retry-after")) || 2, signal);
    }
    await this.prepare(response, signal);
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    let isFirst = true;
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (signal.aborted) return null;
        if (done) break;
        await this.append(value, signal);
        this.tries = 0;
        if (isFirst) this.onTold(null, false);
        isFirst = false;
        this.closeGap(seconds);
        if (this.ahead() > AHEAD.enough && !(await this.untilFew(LET_GO_MILLISECONDS, signal))) {
          await reader.cancel().catch(() => null); // the server may do other things
          await this.untilFew(Infinity, signal);
          return signal.aborted ? null : this.edge(seconds);
        }
      }
    } catch (error) {
      if (signal.aborted) return null;
      if (/** @type {Error} */ (error).name !== "TypeError") throw error;
      return this.again(this.edge(seconds), { came_in: "the connection broke off", to_do: "trying again" }, 1, signal); // TypeError: the network's
    }
    await this.settled(signal);
    if (!signal.aborted && this.source.readyState === "open") this.source.endOfStream();
    return null;
  }

  /** @param {number} seconds @param {Told} told @param {number} pause in seconds @param {AbortSignal} signal */
  async again(seconds, told, pause, signal) {
    if (signal.aborted) return null;
    if (++this.tries > MAX_TRIES) return this.end({ came_in: told.came_in, to_do: "play it again later" }, signal);
    if (this.ahead() < 1) this.onTold(told, false);
    await waited(pause * 1000, signal);
    return seconds;
  }

  /** @param {Told} told @param {AbortSignal} signal @returns {null} */
  end(told, signal) {
    if (!signal.aborted) this.onTold(told, true);
    return null;
  }

  /** @param {Response} response @param {AbortSignal} signal */
  async prepare(response, signal) {
    const type = response.headers.get("content-type") ?? "";
    if (this.buffer === null) {
      this.buffer = /** @type {SourceBuffer} */ (this.source.addSourceBuffer(type));
      if (this.duration) this.source.duration = this.duration;
    } else {
      await this.settled(signal);
      if (this.source.readyState === "open") this.buffer.abort();
      this.buffer.changeType(type);
    }
    this.buffer.timestampOffset = Number(response.headers.get("x-vtr-zero-seconds"));
  }

  /** @param {Uint8Array} piece @param {AbortSignal} signal */
  async append(piece, signal) {
    const buffer = /** @type {SourceBuffer} */ (this.buffer);
    for (;;) {
      await this.settled(signal);
      if (signal.aborted) return;
      try {
        buffer.appendBuffer(/** @type {any} */ (piece));
        await this.settled(signal);
        if (this.video.error) throw this.video.error;
        return;
      } catch (error) {
        if (/** @type {Error} */ (error).name !== "QuotaExceededError") throw error;
        await this.makeRoom(signal);
      }
    }
  }

  /** @param {AbortSignal} signal */
  async makeRoom(signal) {
    const buffer = /** @type {SourceBuffer} */ (this.buffer);
    const until = this.video.currentTime - KEPT_BEHIND;
    if (until > 0 && buffer.buffered.length && buffer.buffered.start(0) < until - 1) buffer.remove(0, until);
    else await waited(1000, signal);
    await this.settled(signal);
  }

  /** @param {AbortSignal} signal */
  settled(signal) {
    const buffer = this.buffer;
    if (!buffer?.updating) return Promise.resolve();
    return new Promise((resolve) => {
      buffer.addEventListener("updateend", () => resolve(undefined), { once: true });
      signal.addEventListener("abort", () => resolve(undefined), { once: true });
    });
  }

  /** Pictures may begin a little later than they were asked for. @param {number} asked */
  closeGap(asked) {
    const { buffered, currentTime } = this.video;
    if (this.isThere(currentTime) || !buffered.length) return;
    for (let index = 0; index < buffered.length; index++) {
      const begin = buffered.start(index);
      if (begin > currentTime && begin - currentTime < GAP && currentTime >= asked - GAP) this.video.currentTime = begin + 0.001;
    }
  }

  /** @param {number} seconds */
  isThere(seconds) {
    const { buffered } = this.video;
    for (let index = 0; index < buffered.length; index++) {
      if (buffered.start(index) <= seconds + 0.05 && seconds < buffered.end(index) - 0.05) return true;
    }
    return this.source.readyState === "ended" && buffered.length > 0 && seconds >= buffered.end(buffered.length - 1) - 0.1;
  }

  /** Where what is there from the playing time on ends. @param {number} otherwise */
  edge(otherwise) {
    const { buffered, currentTime } = this.video;
    for (let index = 0; index < buffered.length; index++) {
      if (buffered.start(index) <= currentTime + 0.2 && currentTime <= buffered.end(index) + 0.2) return buffered.end(index);
    }
    return Math.max(otherwise, currentTime);
  }

  ahead() {
    return this.edge(0) - this.video.currentTime;
  }

  /** Whether little is left within a time. @param {number} milliseconds @param {AbortSignal} signal */
  async untilFew(milliseconds, signal) {
    const until = performance.now() + milliseconds;
    while (!signal.aborted && this.ahead() > AHEAD.few) {
      if (performance.now() > until) return false;
      await waited(250, signal);
    }
    return true;
  }
}

/** @param {number} milliseconds @param {AbortSignal} signal @returns {Promise<void>} */
const waited = (milliseconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
