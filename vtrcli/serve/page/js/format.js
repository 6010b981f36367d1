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
