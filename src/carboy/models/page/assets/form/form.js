// The form of one model: a field per parameter, and which field an error is about.

import { h } from "../dom.js";
import { describe } from "../schema.js";
import { buildField } from "./build.js";
import { OMIT, Unfit } from "./base.js";

export function makeForm({ input, parameters, defaults = {}, examples = [] }) {
  const single = parameters.length === 1;
  // A lone record needs no frame around its fields.
  const label = single && describe(input).kind !== "record" ? parameters[0] : undefined;
  const root = single
    ? buildField(input, { path: "$", label, required: !(parameters[0] in defaults), fallback: defaults[parameters[0]] })
    : buildField(input, { path: "$", required: true, defaults });
  const named = single && mayBeNamed(describe(input), parameters[0]);
  const fill = (value) => root.fill(named && isNamed(value, parameters[0]) ? value[parameters[0]] : value);
  if (examples.length) fill(examples[0].value);

  const all = [];
  const collect = (field) => { all.push(field); field.children?.forEach(collect); };
  collect(root);

  /** The deepest field that a path of the server leads to, and the rest: `$.a.b[3]` is `$.a.b`, `[3]`. */
  function at(path) {
    // Of a lone parameter, forms say `$.name` and JSON says `$`.
    const prefix = `$.${parameters[0]}`;
    const inner = single && path.startsWith(prefix) && !/^[\w]/.test(path.slice(prefix.length)) ? `$${path.slice(prefix.length)}` : path;
    const field = all.filter((field) => inner === field.path || inner.startsWith(`${field.path}.`) || inner.startsWith(`${field.path}[`))
      .reduce((best, field) => (field.path.length > best.path.length ? field : best), root);
    return { field, rest: inner.slice(field.path.length).replace(/^\./, "") };
  }
  return {
    element: h("div", { class: "fields" }, root.element),
    /** {parameter: value}; without those that are left out. Throws Unfit. */
    async read() {
      const value = await root.read();
      if (!single) return value;
      return value === OMIT ? {} : { [parameters[0]]: value };
    },
    fill,
    complain(errors) {
      for (const field of all) field.complain("");
      const told = new Map();
      for (const { path, message } of errors) {
        const { field, rest } = at(path);
        told.set(field, [...(told.get(field) ?? []), rest ? `${field.place?.(rest) ?? rest}: ${message}` : message]);
      }
      for (const [field, messages] of told) field.complain(messages.join("\n"));
      const [first] = told.keys();
      first?.focus();
    },
    reject(error) {
      if (!(error instanceof Unfit)) throw error;
      for (const field of all) field.complain("");
      error.field.complain(error.message);
      error.field.focus();
    },
    clean() { for (const field of all) field.complain(""); },
    /** Hand a pasted file to the first field that takes files. */
    accept: (file) => all.some((field) => field.accept?.(file)),
    takesFiles: () => all.some((field) => field.accept),
  };
}

// An example may have the lone parameter's name, as the server takes it where it is no value itself.
const mayBeNamed = ({ kind, schema }, name) =>
  kind !== "json" && kind !== "mapping" && !(kind === "record" && name in schema.properties);
const isNamed = (value, name) => typeof value === "object" && value !== null && Object.keys(value).join() === name;
