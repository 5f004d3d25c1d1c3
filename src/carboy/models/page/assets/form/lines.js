// A list of texts: one on each line. Texts with line breaks, and empty ones, are JSON.

import { pretty } from "../data/json.js";
import { h } from "../dom.js";
import { dress, OMIT, Unfit } from "./base.js";
import { parse } from "./json.js";

export function linesField(spec) {
  const area = h("textarea", { rows: 3, spellcheck: "true", placeholder: "One on each line" });
  const field = dress({ ...spec, control: area });
  let isJson = false; // until somebody empties the area
  area.addEventListener("input", () => { isJson &&= area.value.trim() !== ""; });
  return Object.assign(field, {
    read() {
      if (area.value === "" && !spec.required) return spec.fallback ? [] : OMIT;
      if (area.value === "" && spec.nullable) return null;
      if (!isJson) return area.value.split("\n").filter((line) => line !== "");
      const { value, wrong } = parse(area.value);
      if (wrong) throw new Unfit(field, wrong);
      return value;
    },
    fill(value) {
      const texts = Array.isArray(value) ? value : [];
      isJson = texts.some((text) => text === "" || /[\r\n]/.test(text));
      area.value = isJson ? pretty(texts) : texts.join("\n");
    },
  });
}
