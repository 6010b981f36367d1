// Why this result: what the model read of the sentence, how it weighs its experts, and what each made of every frame.

import { getJson } from "./api.js";
import { h, icon, iconButton, svg } from "./dom.js";
import { clock, splitPath } from "./format.js";
import { queryString } from "./url.js";

/** What each expert is compared with, in a word; colours only repeat what the words say. */
const READS = { fusion: "the whole sentence", entity: "its nouns", action: "its verbs" };

/** @param {any} page what main.js gives its additions */
export function createWhy(page) {
  const dialog = /** @type {HTMLDialogElement} */ (h("dialog", { class: "why", "aria-labelledby": "why-title" }));
  document.body.append(dialog);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  let controller = new AbortController();
  dialog.addEventListener("close", () => controller.abort());

  /** @param {string} id @param {string | null} name */
  async function show(id, name) {
    controller.abort();
    const own = (controller = new AbortController());
    const title = h("header", {}, h("h2", { id: "why-title" }, "Why this result"), iconButton("close", "Close", () => dialog.close()));
    const about = h("p", { class: "quiet" }, name ?? splitPath(id)[0]);
    dialog.replaceChildren(title, about, h("p", { role: "status" }, "Asking the model …"));
    if (!dialog.open) dialog.showModal();
    try {
      const query = queryString([["q", page.state().q.trim()], ["id", id], ["store", page.store()]]);
      const found = await getJson(`/api/explain?${query}`, own.signal);
      if (own === controller) dialog.replaceChildren(title, about, ...content(found, page.state().moments === "1", (seconds) => (dialog.close(), page.open(id, seconds, null))));
    } catch (error) {
      if (own !== controller || /** @type {Error} */ (error).name === "AbortError") return;
      const parts = /** @type {any} */ (error).parts;
      dialog.replaceChildren(title, about, h("p", { role: "alert" }, parts ? `${parts.came_in}: ${parts.to_do}` : "The server does not answer."));
    }
  }

  const isPossible = () => {
    const { q, plus, not, then, like, image } = page.state();
    return Boolean(q.trim()) && ![plus, not, then, like, image].some((list) => list.length);
  };
  page.attach({
    card(result, _card, menu) {
      if (!isPossible()) return;
      menu.append(h("li", {}, iconButton("help", "Why this result", () => show(result.video_id, result.path))));
    },
    moment({ id }, tools) {
      tools.querySelector("[data-tool=why]")?.remove();
      if (isPossible()) tools.append(h("button", { type: "button", class: "button", "data-tool": "why", onclick: () => show(id, null) }, icon("help"), "Why this result"));
    },
  });
  page.addCardKey("w", "why this result", (card) => {
    const result = page.resultAt(card);
    if (result && isPossible()) show(result.video_id, result.path);
  });
}

/**
 * @param {any} found an answer of /api/explain @param {boolean} ranksMoments @param {(seconds: number) => void} onPlay
 * @returns {HTMLElement[]}
 */
function content(found, ranksMoments, onPlay) {
  const length = found.duration_seconds ?? Math.max(...found.timestamps, 0.001);
  const hasExperts = found.experts.length > 0;
  return [
    ...(found.words.length ? [sentence(found)] : []),
    ...(hasExperts ? [sum(found)] : [scoreAlone(found)]),
    ...(found.run && ranksMoments ? [h("p", { class: "why-told" }, `The run ranks videos by this score; moments in the best of them are ranked by their best frame, here ${signed(Math.max(...found.frame_scores), 3)}.`)] : []),
    h(
      "section",
      { class: "why-strips", "aria-label": "Over time" },
      h("h3", {}, "Over time", h("span", { class: "quiet" }, hasExperts ? " · what each frame scores, and under it how much the expert looks at it" : " · what each frame scores")),
      ...found.experts.map((/** @type {any} */ expert) =>
        strip({
          name: expert.name,
          about: `${READS[expert.name] ?? ""}, frame by frame`,
          kind: expert.name,
          times: found.expert_timestamps,
          scores: expert.frame_scores,
          weights: expert.frame_weights,
          length,
          onPlay,
          scale: scaleOf(found.experts.map((/** @type {any} */ one) => one.frame_scores).flat()),
        }),
      ),
      strip({
        name: "frames",
        about: hasExperts ? "plain CLIP, which finds the moments" : "cosine of each frame with the sentence",
        kind: "frames",
        times: found.timestamps,
        scores: found.frame_scores,
        weights: null,
        length,
        onPlay,
        scale: scaleOf(found.frame_scores),
        moments: found.moments,
      }),
      h("p", { class: "why-axis", "aria-hidden": "true" }, h("span", {}, "0:00"), h("span", {}, clock(length, length < 60))),
    ),
    ...(found.note ? [h("p", { class: "notes" }, found.note)] : []),
    ...(hasExperts ? [meaning(found.head)] : []),
  ];
}

/** The sentence; under each word where it went. @param {any} found */
function sentence(found) {
  const letters = [...found.query]; // places count characters, not UTF-16's halves of them
  const parts = [];
  let at = 0;
  for (const word of found.words) {
    if (word.start > at) parts.push(letters.slice(at, word.start).join(""));
    const text = letters.slice(word.start, word.end).join("");
    parts.push(word.stream ? h("span", { class: `word ${word.stream}` }, h("b", {}, text), h("small", {}, word.stream)) : h("span", { class: "word" }, text));
    at = word.end;
  }
  parts.push(letters.slice(at).join(""));
  return h("p", { class: "why-sentence" }, ...parts);
}

/** The score as a sum, an expert a row. @param {any} found */
function sum(found) {
  const added = found.experts.map((/** @type {any} */ expert) => expert.contribution);
  const [low, high] = scaleOf(added);
  const rows = found.experts.map((/** @type {any} */ expert) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("span", { class: `swatch ${expert.name}`, "aria-hidden": "true" }), expert.name),
      h("td", { class: "reads" }, expert.masked ? `no ${expert.name === "entity" ? "noun" : "verb"}: ${expert.gate ? "the sentence instead" : "left out"}` : expert.text),
      h("td", { class: "num" }, `${(expert.gate * 100).toFixed(1)} %`),
      h("td", { class: "num" }, `× ${signed(expert.score, 3)}`),
      h("td", { class: "num" }, `= ${signed(expert.contribution, 4)}`),
      h("td", { class: "why-bar", "aria-hidden": "true" }, bar(expert.contribution, low, high, expert.name)),
    ),
  );
  const head = ["expert", "reads", "gate", "its score", "adds"].map((text, index) => h("th", { scope: "col", class: index > 1 ? "num" : null }, text));
  const total = h("tr", { class: "total" }, h("th", { scope: "row" }, "score"), h("td", {}), h("td", { class: "num" }, "100 %"), h("td", {}), h("td", { class: "num" }, signed(found.score, 4)), h("td", {}));
  const caption = h("caption", {}, "How the score comes about", h("span", { class: "quiet" }, found.head.gate ? ` · gate by ${found.head.gate}, ${found.head.aggregator}` : ""));
  return h("div", { class: "why-sum" }, h("table", {}, caption, h("thead", {}, h("tr", {}, ...head, h("td", {}))), h("tbody", {}, ...rows), h("tfoot", {}, total)));
}

/** To the right of zero what adds, to the left what takes away. @param {number} value @param {number} low @param {number} high @param {string} kind */
function bar(value, low, high, kind) {
  const room = h("span", {}, h("span", { class: `fill ${kind}` }));
  room.style.setProperty("--zero", String(-low / (high - low)));
  room.style.setProperty("--from", String((Math.min(value, 0) - low) / (high - low)));
  room.style.setProperty("--part", String(Math.abs(value) / (high - low)));
  return room;
}

/** With a true minus. @param {number} value @param {number} digits */
const signed = (value, digits) => value.toFixed(digits).replace("-", "−");

/** @param {any} found */
function scoreAlone(found) {
  const by = { max: "the best frame's", mean: "the mean of the frames'", softmax: "a soft maximum of the frames'", run: "the run's" };
  return h("p", { class: "why-score" }, h("b", {}, signed(found.score, 4)), ` is ${by[found.scored_by] ?? "the"} score.`);
}

/** @param {number[]} values @returns {[number, number]} */
function scaleOf(values) {
  const [low, high] = [Math.min(...values, 0), Math.max(...values, 0)];
  return [low, high > low ? high : low + 1];
}

/**
 * One strip: a bar per frame for the time that it stands for; under it how much the expert looks at the frame.
 * @param {{name: string, about: string, kind: string, times: number[], scores: number[], weights: number[] | null,
 *   length: number, scale: [number, number], moments?: any[], onPlay: (seconds: number) => void}} options
 */
function strip({ name, about, kind, times, scores, weights, length, scale: [low, high], moments = [], onPlay }) {
  const x = (/** @type {number} */ seconds) => (Math.min(Math.max(seconds, 0), length) / length) * 1000;
  const y = (/** @type {number} */ score) => 60 - ((score - low) / (high - low)) * 60;
  const heaviest = Math.max(...(weights ?? [1]), 1e-9);
  const frames = times.flatMap((time, index) => {
    const left = x(index ? (times[index - 1] + time) / 2 : 0);
    const right = x(index + 1 < times.length ? (time + times[index + 1]) / 2 : length);
    const width = Math.max(right - left - 2, 0.5);
    const told = `${clock(time, true)}: ${signed(scores[index], 3)}${weights ? `, weight ${(weights[index] * 100).toFixed(1)} %` : ""}`;
    const [top, bottom] = [Math.min(y(scores[index]), y(0)), Math.max(y(scores[index]), y(0))];
    const tip = () => {
      const title = svg("title");
      title.textContent = told;
      return title;
    };
    const bars = [svg("rect", { x: left + 1, width, y: top, height: Math.max(bottom - top, 0.8), class: "frame" }, tip())];
    if (weights) bars.push(svg("rect", { x: left + 1, width, y: 66, height: (weights[index] / heaviest) * 18, class: "weight" }, tip()));
    return bars;
  });
  const bands = moments.map((moment, index) => svg("rect", { x: x(moment.start_seconds), width: Math.max(x(moment.end_seconds) - x(moment.start_seconds), 2), y: 0, height: 60, class: index ? "span also" : "span" }));
  const best = scores.indexOf(Math.max(...scores));
  const range = `${signed(Math.min(...scores), 3)} to ${signed(Math.max(...scores), 3)}, highest at ${clock(times[best] ?? 0, true)}`;
  const height = weights ? 86 : 60;
  const picture = svg("svg", { viewBox: `0 0 1000 ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `${name}: ${range}`, class: `why-strip ${kind}${weights ? "" : " low"}` }, ...bands, svg("line", { x1: 0, x2: 1000, y1: y(0), y2: y(0), class: "zero" }), ...frames);
  picture.dataset.plays = "";
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    onPlay(((event.clientX - box.left) / box.width) * length);
  });
  return h("figure", {}, h("figcaption", {}, h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), h("b", {}, name), h("span", { class: "quiet" }, ` ${about} · ${range}`)), picture);
}

/** @param {any} head */
function meaning(head) {
  const seen = head.aggregator === "attention" ? "A frame's score is that of the frame together with what the expert's layers made of it, which have looked at the other frames, too." : "A frame's score is its inner product with the words.";
  return h(
    "details",
    { class: "why-meaning" },
    h("summary", {}, "What these numbers are"),
    h("p", {}, `${seen} The thin bars under each strip are how much the expert looks at the frame. Frames' scores by those weights add up to the expert's score, exactly; experts' scores by their gate add up to the score that ranks the video. They say what each part brought to this score, not what the score would be without it.`),
  );
}
