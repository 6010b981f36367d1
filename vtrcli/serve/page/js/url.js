// Names in addresses. A file's name need not be valid Unicode: a lone surrogate travels as the three bytes that UTF-8
// would give it, which encodeURIComponent refuses to write and the server reads.

const LONE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const LONE_BYTES = /%ED%([AB][0-9A-F])%([89AB][0-9A-F])/gi;

/** @param {string} text */
export function encoded(text) {
  let written = "";
  let end = 0;
  for (const match of text.matchAll(LONE)) {
    const unit = match[0].charCodeAt(0);
    written += encodeURIComponent(text.slice(end, match.index));
    written += [0xe0 | (unit >> 12), 0x80 | ((unit >> 6) & 63), 0x80 | (unit & 63)].map(hex).join("");
    end = match.index + 1;
  }
  return written + encodeURIComponent(text.slice(end));
}

/** @param {number} byte */
const hex = (byte) => `%${byte.toString(16).toUpperCase()}`;

/** What `encoded` wrote, also with + for blanks; what nobody can have written comes back as it is. @param {string} text */
export function decoded(text) {
  const parts = text.replaceAll("+", "%20").split(LONE_BYTES);
  try {
    return parts
      .map((part, index) => {
        if (index % 3 === 0) return decodeURIComponent(part);
        if (index % 3 === 2) return "";
        const second = parseInt(part, 16);
        return String.fromCharCode(0xd000 | ((second & 63) << 6) | (parseInt(parts[index + 1], 16) & 63));
      })
      .join("");
  } catch {
    return text;
  }
}

/** Names and values as a query; null and empty values are left out. @param {Iterable<[string, any]>} pairs */
export function queryString(pairs) {
  return [...pairs]
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => `${name}=${encoded(String(value))}`)
    .join("&");
}
