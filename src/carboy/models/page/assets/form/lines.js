// A list of texts: one on each line.

import { h } from "../dom.js";
import { dress, OMIT } from "./base.js";

export function linesField(spec) {
  const area = h("textarea", { rows: 3, spellcheck: "true", placeholder: "One on each line" });
  const field = dress({ ...spec, control: area });
  return Object.assign(field, {
    read() {
      if (area.value === "" && !spec.required) return spec.fallback ? [] : OMIT;
      if (area.value === "" && spec.nullable) return null;
      return area.value.split("\n").filter((line) => line !== "");
    },
    fill(value) { area.value = Array.isArray(value) ? value.join("\n") : ""; },
  });
}
