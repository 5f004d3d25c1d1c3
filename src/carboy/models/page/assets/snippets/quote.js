// Texts as literals of other languages.

import { isNumber } from "../data/json.js";

/** For a POSIX shell. */
export const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** For Python: strings of JSON are strings of Python. */
export function python(value, indent = "") {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number") return Object.is(value, -0) ? "-0.0" : String(value);
  if (typeof value === "string") return string(value);
  return brackets(value, indent, python, string);
}

/** For JavaScript. */
export function javascript(value, indent = "") {
  if (typeof value === "string") return string(value);
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return brackets(value, indent, javascript, (key) => (/^[A-Za-z_$][\w$]*$/.test(key) && key !== "__proto__" ? key : key === "__proto__" ? '["__proto__"]' : string(key)));
}

const string = (text) => JSON.stringify(text).replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");

function brackets(value, indent, literal, key) {
  const list = Array.isArray(value);
  const parts = (deeper) => (list ? value.map((each) => literal(each, deeper)) : Object.entries(value).map(([name, each]) => `${key(name)}: ${literal(each, deeper)}`));
  const [open, close] = list ? "[]" : "{}";
  const flat = `${open}${parts(indent).join(", ")}${close}`;
  if (flat.length + indent.length <= 76 && !flat.includes("\n") || (list && value.every(isNumber))) return flat;
  const deeper = `${indent}    `;
  return `${open}\n${parts(deeper).map((part) => `${deeper}${part},\n`).join("")}${indent}${close}`;
}
