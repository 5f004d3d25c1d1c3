// Numbers of JavaScript have 53 bits. Whole numbers that need more are BigInts, which this writes
// into JSON with all their digits. Browsers before 2025 may lack `rawJSON` and the source of a number.
// Source: https://tc39.es/proposal-json-parse-with-source/
BigInt.prototype.toJSON = function toJSON() {
  if (!JSON.rawJSON) throw new RangeError(`${this} has more digits than this browser can send.`);
  return JSON.rawJSON(this.toString());
};

/** The number that a text writes: a BigInt if a Number would lose digits; NaN if it is none. */
export function numberOf(text) {
  const number = Number(text);
  const exact = Number.isSafeInteger(number) || !/^\s*[-+]?\d+\s*$/.test(text);
  return exact ? number : BigInt(text.trim().replace("+", ""));
}

export const isNumber = (value) => typeof value === "number" || typeof value === "bigint";

/** `JSON.parse`, with all digits of whole numbers. Throws SyntaxError. */
export function decode(text) {
  // A reviver is slow for large lists, and hardly ever needed.
  if (!/(?<![\d.])\d{16,}(?![\d.eE])/.test(text)) return JSON.parse(text);
  return JSON.parse(text, (key, value, context) => (typeof value === "number" && context?.source ? numberOf(context.source) : value));
}

/** Indented JSON for people: what is short and plain stays on one line. */
export function pretty(value, indent = "") {
  const flat = JSON.stringify(value);
  if (typeof value !== "object" || value === null || flat.length + indent.length <= 72) return spaced(value, flat);
  const deeper = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.every(isNumber)) return wrapped(value, indent);
    return `[\n${value.map((each) => deeper + pretty(each, deeper)).join(",\n")}\n${indent}]`;
  }
  const entries = Object.entries(value).map(([key, each]) => `${deeper}${JSON.stringify(key)}: ${pretty(each, deeper)}`);
  return `{\n${entries.join(",\n")}\n${indent}}`;
}

function spaced(value, flat) {
  if (typeof value !== "object" || value === null) return flat;
  if (Array.isArray(value)) return `[${value.map((each) => spaced(each, JSON.stringify(each))).join(", ")}]`;
  const entries = Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${spaced(each, JSON.stringify(each))}`);
  return entries.length ? `{${entries.join(", ")}}` : "{}";
}

function wrapped(numbers, indent) {
  const lines = [];
  let line = "";
  for (const [i, number] of numbers.entries()) {
    const word = number + (i < numbers.length - 1 ? "," : "");
    if (line && line.length + word.length + indent.length > 70) {
      lines.push(line);
      line = word;
    } else line += line ? ` ${word}` : word;
  }
  return `[\n${[...lines, line].map((each) => `${indent}  ${each}`).join("\n")}\n${indent}]`;
}
