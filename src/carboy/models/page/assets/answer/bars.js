// Names with numbers, as bars; the largest stands out.

import { h } from "../dom.js";

const MOST_BARS = 12;

/** `pairs`: [name, number]. The many are sorted and the small ones folded, the few keep their order. */
export function bars(pairs) {
  const best = pairs.reduce((top, pair) => (pair[1] > top[1] ? pair : top));
  const sorted = pairs.length > MOST_BARS ? [...pairs].sort((a, b) => b[1] - a[1]) : pairs;
  const shares = pairs.every(([, number]) => number >= 0 && number <= 1);
  const most = shares ? 1 : Math.max(...pairs.map(([, number]) => Math.abs(number)), Number.MIN_VALUE);
  const row = (pair) => bar(pair, { share: Math.abs(pair[1]) / most, shares, best: pair === best });
  const list = h("ol", { class: "bars" }, sorted.slice(0, MOST_BARS).map(row));
  const rest = sorted.slice(MOST_BARS);
  return h("div", {}, list, rest.length > 0 && h("details", {}, h("summary", {}, `${rest.length} more`), h("ol", { class: "bars" }, rest.slice(0, 1000).map(row))));
}

function bar([name, number], { share, shares, best }) {
  const filled = h("span", { class: "bar" });
  filled.style.setProperty("--share", share);
  return h("li", { class: best ? "best" : undefined },
    h("span", { class: "name" }, String(name)),
    h("span", { class: "track", "aria-hidden": "true" }, filled),
    h("span", { class: "share" }, shares ? percent(number) : short(number)));
}

function percent(number) {
  if (number > 0 && number < 0.0005) return "< 0.1 %";
  if (number < 1 && number > 0.9995) return "> 99.9 %";
  return `${(100 * number).toFixed(1)} %`;
}

/** Four digits, or two behind the point of large numbers: 0.01235, 12.35, 50144.94. */
export function short(number) {
  if (typeof number === "bigint" || Number.isInteger(number)) return String(number);
  return String(Number(Math.abs(number) < 100 ? number.toPrecision(4) : number.toFixed(2)));
}

const LISTS = ["probabilities", "probs", "scores", "confidences", "probability", "confidence", "logits", "predictions"];
const NAMES = ["labels", "classes", "names", "categories", "class_names"];

/** A record's list of probabilities as {key, pairs}; null if it has none. */
export function scoresOf(record) {
  for (const key of LISTS) {
    const found = record[key];
    if (isMapping(found)) return { keys: [key], pairs: Object.entries(found) };
    if (!Array.isArray(found) || found.length < 2 || !found.every((each) => typeof each === "number")) continue;
    const names = NAMES.find((name) => Array.isArray(record[name]) && record[name].length === found.length);
    return { keys: names ? [key, names] : [key], pairs: found.map((each, i) => [names ? record[names][i] : i, each]) };
  }
  return null;
}

export const isMapping = (value) => typeof value === "object" && value !== null && !Array.isArray(value)
  && Object.keys(value).length > 0 && Object.values(value).every((each) => typeof each === "number");
