// A value that may be written in several ways, such as a picture or its pixels: one at a time.

import { isNumber } from "../data/json.js";
import { changed, h, segmented } from "../dom.js";
import { describe, words } from "../schema.js";

export function eitherField(spec, build) {
  const fields = spec.ways.map((way) =>
    build(way, { ...spec, schema: undefined, ways: undefined, description: undefined, label: undefined, hint: undefined }));
  const titles = spec.ways.map((way) => {
    const { schema } = describe(way, spec.defs);
    return schema.title ?? words(way, spec.defs);
  });
  let current = 0;
  const body = h("div", {}, fields.map((field) => field.element));
  const choice = segmented(spec.label ?? "Kind of input",
    titles.map((text, i) => ({ value: i, text: text.charAt(0).toUpperCase() + text.slice(1) })),
    (value) => {
      current = Number(value);
      fields.forEach((field, i) => { field.element.hidden = i !== current; });
      changed(body);
    });
  fields.forEach((field, i) => { field.element.hidden = i !== 0; });
  const element = h("div", { class: "field either", role: "group", "aria-label": spec.label ?? "Input" },
    h("div", { class: "head" }, spec.label && h("span", { class: "label" }, spec.label), choice.element),
    spec.description && h("p", { class: "about" }, spec.description), body);
  return {
    path: spec.path,
    element,
    children: [],
    read: () => fields[current].read(),
    fill(value) {
      const fits = spec.ways.findIndex((way) => couldBe(value, describe(way, spec.defs)));
      choice.select(Math.max(0, fits));
      fields[current].fill(value);
    },
    complain: (message) => fields[current].complain(message),
    focus: () => fields[current].focus(),
    accept: (file) => {
      const takes = fields.findIndex((field) => field.accept);
      if (takes < 0) return false;
      choice.select(takes);
      return fields[takes].accept(file);
    },
  };
}

function couldBe(value, { kind, values }) {
  if (kind === "choice") return values.includes(value);
  if (kind === "image" || kind === "bytes") return typeof value === "string";
  if (kind === "text") return typeof value === "string" && !value.startsWith("data:");
  if (kind === "number" || kind === "integer") return isNumber(value);
  if (kind === "boolean") return typeof value === "boolean";
  if (kind === "numbers" || kind === "tensor" || kind === "lines") return Array.isArray(value);
  if (kind === "record" || kind === "mapping") return typeof value === "object" && value !== null && !Array.isArray(value);
  return true;
}
