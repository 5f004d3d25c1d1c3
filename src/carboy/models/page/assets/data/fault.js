// Where a text stops being JSON. Browsers know, but each says it in words of its own, or not at all.
// Source: RFC 8259.

const TOKEN = /[\s]*(?:([{}[\],:])|("(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])|true\b|false\b|null\b))/y;

const BLANK = /\s*/y;

/** The index of the first character that cannot stand there; the length, if something is missing. */
export function faultAt(text) {
  const open = [];
  let wants = "value"; // or "key", "colon", "more", "end"; with "]" or "}" where a list may be empty
  let at = 0;
  for (;;) {
    BLANK.lastIndex = at;
    const from = at + BLANK.exec(text)[0].length;
    if (from === text.length) return from;
    TOKEN.lastIndex = at;
    const found = TOKEN.exec(text);
    if (!found || wants === "end") return from;
    const [, mark, value] = found;
    at = TOKEN.lastIndex;
    if (value !== undefined) {
      if (wants.startsWith("key") && value[0] === '"') wants = "colon";
      else if (wants.startsWith("value")) wants = open.length ? "more" : "end";
      else return from;
    } else if ((mark === "{" || mark === "[") && wants.startsWith("value")) {
      open.push(mark === "{" ? "}" : "]");
      wants = mark === "{" ? "key}" : "value]";
    } else if (mark === open.at(-1) && (wants === "more" || wants.endsWith(mark))) {
      open.pop();
      wants = open.length ? "more" : "end";
    } else if (mark === ":" && wants === "colon") wants = "value";
    else if (mark === "," && wants === "more") wants = open.at(-1) === "}" ? "key" : "value";
    else return from;
  }
}
