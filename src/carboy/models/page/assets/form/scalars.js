// Text, numbers, yes or no, one of a few.

import { numberOf } from "../data/json.js";
import { changed, freshId, h } from "../dom.js";
import { bounds } from "../schema.js";
import { dress, emptyValue, OMIT, Unfit } from "./base.js";

export function textField(spec) {
  const short = spec.schema.maxLength <= 80 || ["date", "date-time", "time", "uuid", "email"].includes(spec.schema.format);
  const input = short
    ? h("input", { type: "text", autocomplete: "off", maxlength: spec.schema.maxLength })
    : h("textarea", { rows: spec.nested ? 3 : 6, spellcheck: "true" });
  const field = dress({ ...spec, control: input });
  return Object.assign(field, {
    read() {
      // The empty text is a text; only where null or a default would do as well, it is none.
      if (input.value === "" && (!spec.required || spec.nullable)) return emptyValue(field, spec, "");
      return input.value;
    },
    fill(value) { input.value = value ?? ""; },
  });
}

export function numberField(spec) {
  const whole = spec.schema.type === "integer";
  const ends = bounds(spec.schema);
  const input = h("input", {
    type: "number", inputmode: whole ? "numeric" : "decimal", step: whole ? 1 : "any", autocomplete: "off",
    min: spec.schema.minimum, max: spec.schema.maximum,
  });
  const slider = ends && makeSlider(input, ends, whole, spec);
  const field = dress({ ...spec, control: slider ? slider.element : input, target: input });
  return Object.assign(field, {
    read() {
      if (input.validity.badInput) throw new Unfit(field, "This is not a number.");
      if (input.value === "") return emptyValue(field, spec, "A number is needed here.");
      const number = numberOf(input.value);
      if (typeof number === "bigint" && !JSON.rawJSON) throw new Unfit(field, "This browser cannot send so many digits.");
      return number;
    },
    fill(value) {
      input.value = value ?? "";
      slider?.follow();
    },
  });
}

// A slider for the hand and a box for the exact value: two controls of one number.
function makeSlider(input, { low, high }, whole, spec) {
  const slider = h("input", {
    type: "range", min: low, max: high, step: whole ? 1 : "any", "aria-label": `${spec.label ?? "Value"}, slider`,
    oninput: () => {
      input.value = whole ? slider.value : Number(Number(slider.value).toPrecision(4));
      changed(input);
    },
  });
  const follow = () => {
    if (input.value !== "") slider.value = input.value;
    slider.classList.toggle("unset", input.value === "");
  };
  input.addEventListener("input", follow);
  slider.addEventListener("input", follow);
  if (spec.required) input.value = whole ? Math.round((low + high) / 2) : Number(((low + high) / 2).toPrecision(4));
  follow();
  return {
    follow,
    element: h("div", { class: "slide" },
      h("div", { class: "track" }, slider,
        h("div", { class: "ends", "aria-hidden": "true" }, h("span", {}, String(low)), h("span", {}, String(high)))),
      input),
  };
}

export function switchField(spec) {
  if (spec.nullable || (!spec.required && spec.fallback === undefined)) {
    return choiceField({ ...spec, values: [true, false], texts: ["yes", "no"] });
  }
  const id = freshId();
  const input = h("input", { type: "checkbox", role: "switch", id, class: "switch" });
  const field = dress({ ...spec, label: undefined, control: h("div", { class: "toggle" }, input, h("label", { class: "label", for: id }, spec.label ?? "Yes")), target: input });
  input.removeAttribute("aria-label");
  return Object.assign(field, {
    read: () => input.checked,
    fill(value) { input.checked = value === true; },
  });
}

const NONE = "none";

/** Up to four stand side by side, more are a list to open. */
export function choiceField(spec) {
  const { values } = spec;
  const texts = spec.texts ?? values.map((value) => (typeof value === "string" ? value : JSON.stringify(value)));
  const optional = spec.nullable || (!spec.required && spec.fallback === undefined);
  const options = values.map((_, i) => ({ value: String(i), text: texts[i] || "(empty)" }));
  if (optional) options.unshift({ value: NONE, text: spec.required ? "none" : "default" });
  const few = options.length <= 4 && options.every(({ text }) => text.length <= 14);
  const control = few ? radios(spec, options) : dropdown(options);
  const field = dress({ ...spec, control: control.element, target: control.target, group: few });
  control.select(options[0].value);
  return Object.assign(field, {
    focus: () => control.focus(),
    read() {
      const chosen = control.read();
      if (chosen !== NONE) return values[Number(chosen)];
      return spec.required ? null : OMIT;
    },
    fill(value) {
      const at = values.findIndex((each) => each === value);
      control.select(at >= 0 ? String(at) : options[0].value);
    },
  });
}

function radios(spec, options) {
  const name = freshId("choice");
  const inputs = options.map(({ value }, i) => h("input", { type: "radio", name, value, id: `${name}-${i}` }));
  const element = h("div", { class: "segmented", role: "radiogroup", "aria-label": spec.label ?? "Input" },
    options.map(({ text }, i) => [inputs[i], h("label", { for: `${name}-${i}` }, text)]));
  return {
    element,
    target: element,
    focus: () => (inputs.find((input) => input.checked) ?? inputs[0]).focus(),
    select(value) { for (const input of inputs) input.checked = input.value === value; },
    read: () => inputs.find((input) => input.checked).value,
  };
}

function dropdown(options) {
  const element = h("select", {}, options.map(({ value, text }) => h("option", { value }, text)));
  return {
    element,
    target: element,
    focus: () => element.focus(),
    select(value) { element.value = value; },
    read: () => element.value,
  };
}
