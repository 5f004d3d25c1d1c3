// A list of numbers: JSON, or as it comes from anywhere, parted by commas, blanks or lines.

import { numberOf } from "../data/json.js";
import { changed, h } from "../dom.js";
import { bounds, resolve } from "../schema.js";
import { dress, emptyValue, Unfit } from "./base.js";

export function numbersField(spec) {
  const { schema, defs } = spec;
  const item = resolve(schema.items, defs).schema;
  const exactly = schema.minItems !== undefined && schema.minItems === schema.maxItems ? schema.minItems : null;
  const area = h("textarea", { rows: exactly > 16 ? 8 : 3, class: "code", spellcheck: "false", placeholder: "1, 2.5, -3 …" });
  const state = h("p", { class: "state", "aria-live": "polite" });
  const set = (values) => {
    area.value = values.join(", ");
    check();
    changed(area);
  };
  const tools = exactly && h("div", { class: "tools" },
    h("button", { type: "button", class: "button small", onclick: () => set(Array(exactly).fill(Math.max(0, bounds(item)?.low ?? 0))) }, "Fill with zeros"),
    h("button", { type: "button", class: "button small", onclick: () => set(randomNumbers(exactly, item)) }, "Random"));
  const field = dress({ ...spec, control: h("div", {}, area, h("div", { class: "below" }, state, tools)), target: area });

  function check() {
    const { values, wrong } = parse(area.value);
    state.textContent = wrong ?? (values.length || exactly ? tell(values.length, schema, exactly) : "");
    state.classList.toggle("bad", Boolean(wrong) || (values.length > 0 && !fits(values.length, schema)));
  }
  area.addEventListener("input", check);
  check();
  return Object.assign(field, {
    read() {
      if (!area.value.trim()) {
        if (!spec.required || spec.nullable) return emptyValue(field, spec, "");
        if (schema.minItems) throw new Unfit(field, "Numbers are needed here.");
        return [];
      }
      const { values, wrong } = parse(area.value);
      if (wrong) throw new Unfit(field, wrong);
      return values;
    },
    fill(value) {
      area.value = Array.isArray(value) ? value.join(", ") : "";
      check();
    },
  });
}

export function parse(text) {
  if (text.includes(";") && /\d,\d/.test(text)) {
    return { values: [], wrong: "With commas and semicolons, 1,5 may be one number or two. Write 1.5, or part all numbers alike." };
  }
  const words = text.replaceAll(/[[\]]/g, " ").split(/[\s,;]+/).filter(Boolean);
  const values = words.map(numberOf);
  const at = values.findIndex((value) => !Number.isFinite(Number(value)));
  if (at >= 0) return { values: [], wrong: `Number ${at + 1} is “${words[at].slice(0, 30)}”, which is not a number.` };
  return { values };
}

const fits = (length, { minItems = 0, maxItems = Infinity }) => length >= minItems && length <= maxItems;

function tell(length, schema, exactly) {
  const amount = `${length} number${length === 1 ? "" : "s"}`;
  if (exactly) return `${length} of ${exactly} numbers`;
  if (fits(length, schema)) return amount;
  return schema.maxItems !== undefined && length > schema.maxItems ? `${amount}, at most ${schema.maxItems}` : `${amount}, at least ${schema.minItems}`;
}

function randomNumbers(length, item) {
  const { low, high } = bounds(item) ?? { low: item.minimum ?? 0, high: (item.minimum ?? 0) + (item.type === "integer" ? 10 : 1) };
  return Array.from({ length }, () => {
    const value = low + Math.random() * (high - low);
    return item.type === "integer" ? Math.floor(value) : Number(value.toPrecision(3));
  });
}
