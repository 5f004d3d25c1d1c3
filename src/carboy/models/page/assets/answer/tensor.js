// Nested lists of numbers: their shape, what they range over, and the values for who wants them.

import { h } from "../dom.js";
import { rows, shapeOfValue } from "../form/tensor.js";
import { short } from "./bars.js";

const MOST_VALUES = 1000;

export const isTensor = (value) => Array.isArray(value) && value.length > 0 && shapeOfValue(value) !== null;

export function tensor(value, dtype) {
  const { shape, least, most, mean, amount, first } = survey(value);
  const facts = [["Shape", shape.join(" × ")], dtype && ["Type", dtype], ["Values", amount.toLocaleString("en")],
    ["Least", short(least)], ["Most", short(most)], ["Mean", short(mean)]].filter(Boolean);
  return h("div", {},
    h("dl", { class: "facts" }, facts.map(([name, fact]) => h("div", {}, h("dt", {}, name), h("dd", {}, fact)))),
    h("details", { open: amount <= 64 }, h("summary", {}, amount > MOST_VALUES ? `The first ${MOST_VALUES} values` : "Values"), values(value, amount, first)));
}

/** The same in one line, for a member of a record. */
export function folded(value) {
  const { shape, least, most, amount, first } = survey(value);
  return h("details", { class: "folded" }, h("summary", {}, `${shape.join(" × ")} numbers from ${short(least)} to ${short(most)}`), values(value, amount, first));
}

function values(value, amount, first) {
  const flat = !Array.isArray(value[0]);
  return h("pre", {}, amount > MOST_VALUES || flat ? first.map(short).join(", ") : rows(shortened(value)));
}

/** Four digits of each: float32 in JSON has seventeen. All of them stand in the JSON below. */
function shortened(value) {
  return Array.isArray(value) ? value.map(shortened) : Number(short(Number(value)));
}

function survey(value) {
  const shape = shapeOfValue(value);
  let [least, most, sum, amount] = [Infinity, -Infinity, 0, 0];
  const first = [];
  const visit = (each) => {
    if (Array.isArray(each)) return each.forEach(visit);
    const number = Number(each); // also of true, and of a BigInt
    least = Math.min(least, number);
    most = Math.max(most, number);
    sum += number;
    amount += 1;
    if (first.length < MOST_VALUES) first.push(each);
  };
  visit(value);
  return { shape, least, most, mean: sum / amount, amount, first };
}
