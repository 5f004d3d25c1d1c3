// What a JSON answer looks like, by what it is and by what the model's types say.

import { h, save } from "../dom.js";
import * as csv from "../data/csv.js";
import { isNumber } from "../data/json.js";
import { describe, shapeOf } from "../schema.js";
import { rowsOf } from "../form/table.js";
import { bars, isMapping, scoresOf, short } from "./bars.js";
import { grid } from "./grid.js";
import { fromText, picture } from "./picture.js";
import { folded, isTensor, tensor } from "./tensor.js";
import { tree } from "./tree.js";

const MOST_ROWS = 100;
// Names under which records say what they are about, the most telling first.
const HEADLINES = ["label", "class", "prediction", "predicted", "answer", "category", "name", "value", "text", "result"];

/** An element for a value. */
export async function show(value, raw = {}, defs = {}, depth = 0) {
  const { kind, schema, defs: known } = describe(raw, defs);
  if (typeof value === "string") return text(value, kind);
  if (typeof value !== "object" || value === null) return h("p", { class: "big" }, isNumber(value) ? short(value) : String(value));
  if (kind === "table") return table(value);
  if (Array.isArray(value)) {
    if (value.length > 0 && value.every(isRow)) return table(value);
    if (isTensor(value) && (kind === "tensor" || value.length > 4 || Array.isArray(value[0]))) return tensor(value, shapeOf(schema).dtype);
    return tree(value);
  }
  if (isMapping(value) && (kind === "mapping" || isShares(value))) return labelled(Object.entries(value));
  return depth > 0 ? tree(value) : record(value, schema, known);
}

const isRecord = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

// A cell or two may hold more; what is mostly nested is read more easily as a tree.
function isRow(value) {
  if (!isRecord(value)) return false;
  const cells = Object.values(value);
  return cells.length >= 2 * cells.filter((each) => typeof each === "object" && each !== null).length;
}

function isShares(value) {
  const numbers = Object.values(value);
  return numbers.length > 1 && Math.abs(numbers.reduce((sum, each) => sum + each, 0) - 1) < 0.01;
}

async function text(value, kind) {
  if (kind === "image" || value.startsWith("data:image/")) {
    const blob = fromText(value);
    const shown = blob && await picture(blob, { keep: true });
    if (shown) return shown;
  }
  return h("p", { class: value.length <= 60 ? "big" : "prose" }, value);
}

function labelled(pairs) {
  const [name] = pairs.reduce((top, pair) => (pair[1] > top[1] ? pair : top));
  return h("div", {}, h("p", { class: "big" }, String(name)), bars(pairs));
}

async function record(value, schema, defs) {
  const scores = scoresOf(value);
  const rest = Object.entries(value).filter(([key]) => !scores?.keys.includes(key));
  const plain = (key) => typeof value[key] === "string" || isNumber(value[key]);
  const headline = (scores || rest.length > 1) && (HEADLINES.find((key) => key in value && plain(key) && String(value[key]).length < 60)
    ?? (scores && rest.find(([key]) => plain(key) && Number.isInteger(value[key]) || typeof value[key] === "string")?.[0]));
  const others = rest.filter(([key]) => key !== headline);
  const facts = await Promise.all(others.map(async ([key, each]) => h("div", {}, h("dt", {}, key), h("dd", {}, await fact(each, schema.properties?.[key], defs)))));
  return h("div", {},
    headline && h("p", { class: "big" }, String(value[headline])),
    scores && bars(scores.pairs),
    facts.length > 0 && h("dl", { class: "members" }, facts));
}

async function fact(value, schema, defs) {
  if (typeof value === "number") return h("code", {}, short(value));
  if (typeof value === "string" && !value.startsWith("data:image/") && describe(schema, defs).kind !== "image") return h("span", { class: "prose" }, value);
  if (typeof value !== "object" || value === null) return typeof value === "string" ? text(value, "image") : h("code", {}, String(value));
  if (Array.isArray(value) && value.length > 16 && isTensor(value)) return folded(value);
  if (JSON.stringify(value).length <= 80) return h("code", {}, JSON.stringify(value));
  return show(value, schema, defs, 1);
}

/** Records, or {columns, data}, as rows. */
export function table(value) {
  const rows = Array.isArray(value) ? rowsOf(value)
    : Array.isArray(value.columns) && Array.isArray(value.data) ? [value.columns, ...value.data]
      : Object.values(value).every(Array.isArray) ? [Object.keys(value), ...(Object.values(value)[0] ?? []).map((_, i) => Object.values(value).map((column) => column[i]))]
        : null;
  return rows ? tableOf(rows) : tree(value);
}

export function tableOf([head, ...body]) {
  const about = `${body.length} row${body.length === 1 ? "" : "s"}, ${head.length} column${head.length === 1 ? "" : "s"}`;
  return h("div", {},
    grid(head, body.slice(0, MOST_ROWS), { numbered: 1, rounded: true }),
    h("div", { class: "below" },
      h("p", { class: "state" }, body.length > MOST_ROWS ? `${about}; the first ${MOST_ROWS} are shown` : about),
      h("button", { type: "button", class: "button small", onclick: () => save([csv.write([head, ...body])], "answer.csv") }, "Save CSV")));
}
