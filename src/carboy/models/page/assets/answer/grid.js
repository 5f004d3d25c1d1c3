// Rows and columns.

import { isNumber } from "../data/json.js";
import { h } from "../dom.js";
import { short } from "./bars.js";

const MOST_COLUMNS = 60;

/** `rounded`: numbers in short, as in matrices; the whole number is the title of its cell. */
export function grid(head, rows, { numbered = 0, rounded = false } = {}) {
  const shown = head.slice(0, MOST_COLUMNS);
  const more = head.length - shown.length;
  // A column stands on one side, whatever is missing in it.
  const sides = shown.map((_, at) => (isNumeric(rows.map((row) => row[at])) ? "number" : undefined));
  const column = (name, at) => h("th", { scope: "col", class: sides[at] }, String(name));
  return h("div", { class: "grid", tabindex: "0", role: "region", "aria-label": "Table" },
    h("table", {},
      h("thead", {}, h("tr", {}, numbered > 0 && h("th", { scope: "col" }, "#"), shown.map(column), more > 0 && h("th", {}, `… ${more} more`))),
      h("tbody", {}, rows.map((row, i) => h("tr", {}, numbered > 0 && h("td", { class: "quiet" }, String(i + numbered)), shown.map((_, at) => cell(row[at], sides[at], rounded)))))));
}

function cell(value, side, rounded) {
  if (value === null || value === undefined) return h("td", { class: side ? `quiet ${side}` : "quiet" }, "–");
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  if (rounded && side && !/^\s*[-+]?\d+\s*$/.test(text) && text !== "") return h("td", { class: side, title: text }, short(Number(value)));
  return h("td", { class: side }, text.length > 200 ? `${text.slice(0, 200)}…` : text);
}

function isNumeric(values) {
  const there = values.filter((value) => value !== null && value !== undefined && value !== "");
  return there.length > 0 && there.every(isNumeral);
}

const isNumeral = (value) => isNumber(value) || (typeof value === "string" && value !== "" && Number.isFinite(Number(value)));
