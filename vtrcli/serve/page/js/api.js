// The server's addresses: what is asked, what comes back, and what went wrong in its three parts.

import { encoded, queryString } from "./url.js";

/**
 * @typedef {{start_seconds: number, end_seconds: number, peak_seconds: number, score?: number}} Moment
 * @typedef {Moment & {rank: number, video_id: string, path: string | null, score: number, relevance: number | null,
 *   missing: boolean, replaced: boolean, twins: string[], store: string | null, moments: Moment[], word?: string | null,
 *   chain: (Moment & {query: string})[] | null, thumbnail: string, video: string, strip?: number[] | null,
 *   duration_seconds?: number | null, tab?: string | null}} Result a picked one names its store's tab
 * @typedef {{results: Result[], notes: string[], num_videos: number, next_page_token: string | null, seconds: number}} Answer
 */

/** What the server refused, in the parts that the command line prints, too. */
export class ApiError extends Error {
  /** @param {number} status @param {{came_in: string, allowed: string, to_do: string}} parts @param {number | null} retryAfter */
  constructor(status, parts, retryAfter = null) {
    super(parts.came_in);
    this.status = status;
    this.parts = parts;
    this.retryAfter = retryAfter;
  }
}

/** Nobody answered. */
export class ServerGone extends Error {}

const secret = () => /** @type {HTMLMetaElement | null} */ (document.querySelector("meta[name=vtr-secret]"))?.content ?? "";

/**
 * @param {string} path @param {RequestInit} [options]
 * @throws {ApiError | ServerGone | DOMException}
 */
async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (/** @type {Error} */ (error).name === "AbortError") throw error;
    throw new ServerGone(path);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const unknown = { came_in: `the server answered ${response.status}`, allowed: "an answer", to_do: "try again" };
  throw new ApiError(response.status, body.error ?? unknown, Number(response.headers.get("retry-after")) || null);
}

/** @param {string} path @param {AbortSignal} [signal] */
export const getJson = async (path, signal) => (await ask(path, { signal })).json();

/** @param {string} path @param {any} body */
export function postJson(path, body) {
  return post(path, JSON.stringify(body), "application/json");
}

/**
 * Whatever changes something carries the session's secret. A server that was started again has another one, which its
 * page tells.
 * @param {string} path @param {BodyInit} body @param {string} type
 */
export async function post(path, body, type) {
  const send = () => ask(path, { method: "POST", body, headers: { "Content-Type": type, "X-VTR-Secret": secret() } });
  try {
    return await send();
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 403) throw error;
    const found = /name="vtr-secret" content="([^"]+)"/.exec(await (await ask("/")).text());
    if (!found || found[1] === secret()) throw error;
    /** @type {HTMLMetaElement} */ (document.querySelector("meta[name=vtr-secret]")).content = found[1];
    return send();
  }
}

/**
 * @param {[string, string][]} parameters @param {{token?: string | null, topK?: number, signal?: AbortSignal}} options
 * @returns {Promise<Answer>}
 */
export function search(parameters, { token = null, topK = 24, signal } = {}) {
  const paging = /** @type {[string, any][]} */ ([["page_token", token], ["top_k", topK], ["strips", 1]]);
  return getJson(`/api/search?${queryString([...parameters, ...paging])}`, signal);
}

/** @param {AbortSignal} [signal] */
export const health = (signal) => getJson("/api/health", signal);

/** @param {string} id @param {string | null} store @param {[string, any][]} [parameters] */
export function videoUrl(id, store, parameters = [], part = "") {
  const query = queryString([...parameters, ["store", store]]);
  return `/api/videos/${encoded(id)}${part}${query && `?${query}`}`;
}

/** @param {string} id @param {string | null} store @param {number} seconds @param {number} width in pixels */
export const thumbnailUrl = (id, store, seconds, width) =>
  videoUrl(id, store, [["t", Math.round(seconds * 100) / 100], ["width", width]], "/thumbnail");

/** The first videos of a store. @param {string} store @param {number} topK */
export const videos = (store, topK) => getJson(`/api/videos?${queryString([["store", store], ["top_k", topK]])}`);

/** Facts of a video; with the query's parameters its moments, too. @param {string} id @param {string | null} store @param {[string, any][]} parameters */
export const videoFacts = (id, store, parameters = [], signal = undefined) =>
  getJson(videoUrl(id, store, parameters.filter(([name]) => name !== "store")), signal);

/** @param {Blob} picture @returns {Promise<string>} the picture's id */
export async function uploadPicture(picture) {
  const response = await post("/api/images", picture, picture.type || "application/octet-stream");
  return (await response.json()).image;
}
