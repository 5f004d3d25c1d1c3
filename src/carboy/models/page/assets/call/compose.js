// From the values of the form to a request: JSON, or a multipart form where a value is a file.
// The same plan is sent by the page and written down by the snippets.

import { isNumber } from "../data/json.js";
import { Upload } from "../form/upload.js";

/**
 * {kind: "json", value} or {kind: "multipart", parts: [{name, upload} | {name, text}]}
 */
export async function compose(values, parameters) {
  const entries = Object.entries(values);
  if (entries.some(([, value]) => value instanceof Upload) && entries.every(([, value]) => fitsForm(value))) {
    return { kind: "multipart", parts: entries.filter(([, value]) => value !== null).map(part) };
  }
  const plain = await spell(values);
  // A lone parameter is the body itself: the server reads a body as the value first.
  const [only] = parameters;
  const bare = parameters.length === 1 && only in plain;
  return { kind: "json", value: bare ? plain[only] : plain };
}

// A field's text that begins like JSON would be read as JSON; `null` has no spelling in a form.
function fitsForm(value) {
  if (value instanceof Upload) return true;
  if (typeof value === "string") return !/^\s*[[{]/.test(value);
  return isNumber(value) || typeof value === "boolean" || Array.isArray(value);
}

const part = ([name, value]) => (value instanceof Upload ? { name, upload: value }
  : { name, text: typeof value === "string" ? value : JSON.stringify(value) });

/** Files inside become what JSON has for them. */
async function spell(value) {
  if (value instanceof Upload) return value.json();
  if (Array.isArray(value)) return isNumber(value[0]) ? value : Promise.all(value.map(spell));
  if (typeof value !== "object" || value === null) return value;
  const entries = await Promise.all(Object.entries(value).map(async ([key, each]) => [key, await spell(each)]));
  return Object.fromEntries(entries);
}
