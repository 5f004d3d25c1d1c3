// Anything else: JSON, checked while one writes.

import { faultAt } from "../data/fault.js";
import { decode, pretty } from "../data/json.js";
import { h } from "../dom.js";
import { sample } from "../schema.js";
import { dress, emptyValue, Unfit } from "./base.js";

export function jsonField(spec) {
  const area = h("textarea", { rows: spec.nested ? 4 : 9, class: "code", spellcheck: "false", placeholder: pretty(sample(spec.schema, spec.defs)) });
  const state = h("p", { class: "state", "aria-live": "polite" });
  const field = dress({ ...spec, control: h("div", {}, area, h("div", { class: "below" }, state)), target: area });

  function check() {
    const { wrong } = area.value.trim() ? parse(area.value) : {};
    state.textContent = area.value.trim() ? wrong ?? "Valid JSON" : "";
    state.classList.toggle("bad", Boolean(wrong));
  }
  area.addEventListener("input", check);
  return Object.assign(field, {
    read() {
      if (!area.value.trim()) return emptyValue(field, spec, "A value in JSON is needed here.");
      const { value, wrong } = parse(area.value);
      if (wrong) throw new Unfit(field, wrong);
      return value;
    },
    fill(value) {
      area.value = value === undefined ? "" : pretty(value);
      check();
    },
  });
}

export function parse(text) {
  try {
    return { value: decode(text) };
  } catch {
    return { wrong: `Not JSON yet: ${place(text)}` };
  }
}

function place(text) {
  const at = faultAt(text);
  if (at >= text.trimEnd().length) return "something is missing at the end.";
  const before = text.slice(0, at).split("\n");
  return `look at line ${before.length}, column ${before.at(-1).length + 1}.`;
}
