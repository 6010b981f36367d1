// One video from a time on, whatever it takes: the file itself, or a stream where browsers do not play the file, also
// where this one turns out not to.

import { ApiError, getJson, ServerGone, videoUrl } from "./api.js";
import { h } from "./dom.js";
import { canStream, Stream } from "./stream.js";

/** @typedef {{store: string | null, id: string, start: number, end: number | null}} Shown */
/** @typedef {import("./stream.js").Told} Told */

export class Screen {
  /**
   * @param {Shown} moment
   * @param {{onTold: (told: Told | null, isFinal: boolean) => void}} options what keeps it from playing, in words; null when it goes on
   */
  constructor(moment, { onTold }) {
    this.moment = moment;
    this.onTold = onTold;
    this.video = /** @type {HTMLVideoElement} */ (h("video", { playsinline: true, preload: "auto" }));
    /** @type {Stream | null} */
    this.stream = null;
    this.duration = 0;
    this.kind = "";
    this.reason = "";
    this.isClosed = false;
    this.isWanted = false; // to play; what comes instead of a refused file goes on by itself
    this.ready = this.load();
  }

  async load() {
    const { id, store } = this.moment;
    let media;
    try {
      media = await getJson(videoUrl(id, store, [], "/media"));
    } catch (error) {
      const gone = { came_in: "the server does not answer", to_do: "see whether it runs, then play it again" };
      this.tell(error instanceof ApiError ? error.parts : error instanceof ServerGone ? gone : { came_in: String(error), to_do: "" }, true);
      return;
    }
    if (this.isClosed) return;
    this.duration = media.duration_seconds ?? 0;
    this.kind = media.kind;
    this.reason = media.reason ?? "";
    if (media.kind === "none") this.tell({ came_in: media.reason, to_do: "" }, true);
    else if (media.kind === "direct") this.playFile(media.url);
    else this.playStream(false);
  }

  /** @param {string} url */
  playFile(url) {
    const { video, moment } = this;
    // Some browsers refuse what the others play; the server makes of it what all do.
    const onError = () => {
      if (this.isClosed || this.stream) return;
      this.kind = "transcode";
      this.reason = "this browser does not play the file";
      this.playStream(true, video.currentTime || moment.start);
    };
    video.addEventListener("error", onError, { once: true });
    video.addEventListener("loadedmetadata", () => {
      if (Number.isFinite(video.duration)) this.duration = video.duration;
    });
    video.src = url;
    video.currentTime = moment.start; // before anything is loaded, this is where it begins
  }

  /** @param {boolean} convert @param {number} [seconds] */
  playStream(convert, seconds = this.moment.start) {
    const { id, store } = this.moment;
    if (!canStream()) {
      this.tell({ came_in: `${this.reason}, and this browser takes no stream instead`, to_do: "use another browser" }, true);
      return;
    }
    this.stream?.close();
    this.kind = convert ? "transcode" : this.kind;
    this.stream = new Stream(this.video, {
      url: (start) => videoUrl(id, store, [["start", start.toFixed(3)], ...(convert ? /** @type {[string, any][]} */ ([["convert", 1]]) : [])], "/stream"),
      duration: this.duration || null,
      onTold: (told, isFinal) => this.tell(told, isFinal),
      // What was repacked is refused: then it is encoded.
      onRefused: convert ? null : () => this.playStream(true, this.video.currentTime || seconds),
    });
    this.video.currentTime = seconds;
    this.stream.start(seconds);
    if (this.isWanted) this.play();
  }

  /** @param {Told | null} told @param {boolean} isFinal */
  tell(told, isFinal) {
    if (!this.isClosed) this.onTold(told, isFinal);
  }

  /** @param {number} seconds */
  seek(seconds) {
    this.video.currentTime = Math.max(0, this.duration ? Math.min(seconds, Math.max(0, this.duration - 0.05)) : seconds);
  }

  pause() {
    this.isWanted = false;
    this.video.pause();
  }

  async play() {
    this.isWanted = true;
    try {
      await this.video.play();
    } catch (error) {
      if (/** @type {Error} */ (error).name !== "NotAllowedError") return;
      this.video.muted = true; // without a click of the user there is no sound
      await this.video.play().catch(() => null);
    }
  }

  close() {
    this.isClosed = true;
    this.video.pause();
    if (this.stream) this.stream.close();
    else {
      this.video.removeAttribute("src");
      this.video.load();
    }
    this.video.remove();
  }
}
