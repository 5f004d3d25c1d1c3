// An object with known fields: a fieldset. The parameters of `predict`, where there are several,
// are one too.

import { changed, freshId, h } from "../dom.js";
import { OMIT } from "./base.js";

/** `build` makes the field of one property; the record need not know which kinds there are. */
export function recordField(spec, build) {
  const { schema, defs } = spec;
  const required = new Set(schema.required ?? []);
  const children = Object.entries(schema.properties).map(([name, each]) =>
    [name, build(each, {
      defs, label: name, path: `${spec.path}.${name}`, required: required.has(name), nested: true,
      fallback: each?.default ?? spec.defaults?.[name],
    })]);
  const body = h("div", { class: "fields" }, children.map(([, child]) => child.element));
  const optional = spec.nullable || !spec.required;
  const included = optional && h("input", { type: "checkbox", role: "switch", class: "switch", id: freshId() });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const show = () => { body.hidden = optional && !included.checked; };
  if (optional) included.addEventListener("change", () => { show(); changed(body); });
  show();
  const legend = spec.label && (optional
    ? h("legend", { class: "toggle" }, included, h("label", { class: "label", for: included.id }, spec.label))
    : h("legend", { class: "label" }, spec.label));
  const element = spec.label
    ? h("fieldset", {}, legend, spec.description && h("p", { class: "about" }, spec.description), body, problem)
    : h("div", { class: "bare" }, spec.description && h("p", { class: "about" }, spec.description), optional && h("div", { class: "toggle" }, included, h("label", { for: included.id }, "Give a value")), body, problem);
  return {
    path: spec.path,
    element,
    children: children.map(([, child]) => child),
    async read() {
      if (optional && !included.checked) return spec.required ? null : OMIT;
      const found = {};
      for (const [name, child] of children) {
        const value = await child.read();
        if (value !== OMIT) found[name] = value;
      }
      return found;
    },
    fill(value) {
      if (optional) included.checked = value !== null && value !== undefined;
      show();
      for (const [name, child] of children) {
        if (value && name in value) child.fill(value[name]);
      }
    },
    complain(message) {
      problem.textContent = message ?? "";
      problem.hidden = !message;
      element.classList.toggle("wrong", Boolean(message));
    },
    focus() { (body.hidden ? included : children[0]?.[1])?.focus(); },
  };
}
