// What all fields share: a label, a hint, a place for what is wrong, and a path.
//
// A field is {path, element, read, fill, complain, focus, children?}. `read` gives the value, or
// OMIT for what is left to the model's default, and throws Unfit for what is no value at all.

import { freshId, h } from "../dom.js";

/** Left out: the model has a default for it. */
export const OMIT = Symbol("left out");

/** What the person at the keyboard has to change, and where. */
export class Unfit extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/** Dress a control as a field: everything but `read` and `fill`. */
export function dress({ path, label, hint, description, control, target = control, group = false }) {
  const id = target.id || (target.id = freshId());
  const problem = h("p", { class: "problem", id: `${id}-problem`, role: "alert", hidden: true });
  const about = description && h("p", { class: "about", id: `${id}-about` }, description);
  const title = label && h(group ? "span" : "label", { class: "label", id: `${id}-label`, for: group ? undefined : id }, label);
  const head = (title || hint) && h("div", { class: "head" }, title, hint && h("span", { class: "hint" }, hint));
  const element = h("div", { class: "field" }, head, about, control, problem);
  if (group) {
    element.setAttribute("role", "group");
    if (title) element.setAttribute("aria-labelledby", `${id}-label`);
  } else if (!label) {
    if (!target.hasAttribute("aria-label")) target.setAttribute("aria-label", "Input");
  }
  target.setAttribute("aria-describedby", [about && `${id}-about`, `${id}-problem`].filter(Boolean).join(" "));
  return {
    path,
    element,
    children: [],
    complain(message) {
      problem.textContent = message ?? "";
      problem.hidden = !message;
      element.classList.toggle("wrong", Boolean(message));
      if (message) target.setAttribute("aria-invalid", "true");
      else target.removeAttribute("aria-invalid");
    },
    focus() {
      target.focus();
    },
  };
}

/** What an empty control means: left out, null, or a person who has forgotten it. */
export function emptyValue(field, spec, asks) {
  if (!spec.required) return OMIT;
  if (spec.nullable) return null;
  throw new Unfit(field, asks);
}
