// JSON to unfold.

import { h } from "../dom.js";

const MOST_CHILDREN = 200;

export function tree(value, { open = 2 } = {}) {
  return h("div", { class: "tree" }, node(null, value, open));
}

function node(key, value, open) {
  const name = key !== null && [h("span", { class: "key" }, String(key)), ": "];
  if (typeof value !== "object" || value === null) return h("div", { class: "leaf" }, name, leaf(value));
  const entries = Array.isArray(value) ? value.map((each, i) => [i, each]) : Object.entries(value);
  const size = Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`;
  const flat = JSON.stringify(value);
  if (flat.length <= 60) return h("div", { class: "leaf" }, name, h("code", {}, flat));
  let filled = false;
  const children = h("div", { class: "inside" });
  const fill = () => {
    if (filled) return;
    filled = true;
    children.append(...entries.slice(0, MOST_CHILDREN).map(([each, inner]) => node(each, inner, open - 1)));
    if (entries.length > MOST_CHILDREN) children.append(h("p", { class: "quiet" }, `and ${entries.length - MOST_CHILDREN} more`));
  };
  const details = h("details", { open: open > 0 && entries.length <= 50, ontoggle: fill }, h("summary", {}, name, h("span", { class: "quiet" }, size)), children);
  if (details.open) fill();
  return details;
}

function leaf(value) {
  if (typeof value === "string") return h("span", { class: "string" }, value.length > 2000 ? `${value.slice(0, 2000)}…` : value);
  return h("code", {}, String(value));
}
