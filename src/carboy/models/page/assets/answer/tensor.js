// Nested lists of numbers: their shape, what they range over, and the values for who wants them.

import { h } from "../dom.js";
import { pretty } from "../data/json.js";
import { shapeOfValue } from "../form/tensor.js";
import { short } from "./bars.js";

const MOST_VALUES = 1000;

export const isTensor = (value) => Array.isArray(value) && value.length > 0 && shapeOfValue(value) !== null;

export function tensor(value, dtype) {
  const shape = shapeOfValue(value);
  let [least, most, sum, amount] = [Infinity, -Infinity, 0, 0];
  const first = [];
  const visit = (each) => {
    if (Array.isArray(each)) return each.forEach(visit);
    least = Math.min(least, each);
    most = Math.max(most, each);
    sum += Number(each);
    amount += 1;
    if (first.length < MOST_VALUES) first.push(each);
  };
  visit(value);
  const facts = [["Shape", shape.join(" × ")], dtype && ["Type", dtype], ["Values", amount.toLocaleString("en")],
    ["Least", short(least)], ["Most", short(most)], ["Mean", short(sum / amount)]].filter(Boolean);
  return h("div", {},
    h("dl", { class: "facts" }, facts.map(([name, fact]) => h("div", {}, h("dt", {}, name), h("dd", {}, fact)))),
    h("details", { open: amount <= 64 }, h("summary", {}, amount > MOST_VALUES ? `The first ${MOST_VALUES} values` : "Values"),
      h("pre", {}, amount > MOST_VALUES ? first.map(short).join(", ") : pretty(value))));
}
