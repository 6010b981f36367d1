// Times, counts and names as people read them.

/**
 * 0:12, 1:02:03; with tenths where `tenths` (short moments differ by less than a second).
 * @param {number} seconds @param {boolean} [tenths]
 */
export function clock(seconds, tenths = false) {
  const units = tenths ? Math.round(seconds * 10) / 10 : Math.round(seconds);
  const hours = Math.floor(units / 3600);
  const minutes = Math.floor(units / 60) % 60;
  const rest = (units % 60).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** From a to b; with tenths where whole seconds would not tell them apart. @param {number} start @param {number} end */
export function span(start, end) {
  const tenths = end - start < 2;
  return end > start ? `${clock(start, tenths)}–${clock(end, tenths)}` : clock(start, tenths);
}

/** 1 video, 1,284 videos. @param {number} number @param {string} unit */
export const count = (number, unit) => `${number.toLocaleString("en")} ${unit}${number === 1 ? "" : "s"}`;

/** The last part of a path, and what stands before it. @param {string} path @returns {[string, string]} */
export function splitPath(path) {
  const cut = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1;
  return [path.slice(cut) || path, path.slice(0, Math.max(cut - 1, 0))];
}

/** The longest folder that all of these are in or under; "" where there is none. @param {string[]} folders */
export function commonFolder(folders) {
  const parts = folders.map((folder) => folder.split(/(?<=[/\\])/));
  const [first = []] = parts;
  let number = 0;
  while (number < first.length && parts.every((other) => trimmed(other[number]) === trimmed(first[number]))) number += 1;
  return first.slice(0, number).join("").replace(/[/\\]$/, "");
}

/** @param {string | undefined} part */
const trimmed = (part) => part?.replace(/[/\\]$/, "");
