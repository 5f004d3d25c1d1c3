// A tensor: JSON, a file of NumPy, or values to try with.

import { isNumber } from "../data/json.js";
import { isNpy, headOf } from "../data/sniff.js";
import * as npy from "../data/npy.js";
import { changed, freshId, h, icon } from "../dom.js";
import { shapeOf } from "../schema.js";
import { dress, emptyValue, Unfit } from "./base.js";
import { parse } from "./json.js";
import { chooser, nameAndSize, takesDrops, Upload } from "./upload.js";

// More values than this are a file: nobody edits them, and a file is a fifth of the JSON.
const AREA_VALUES = 2_000;
// A side that is free gets this length when values are made up, unless somebody says another.
const FREE_SIDE = 4;

export function tensorField(spec) {
  let file = null;
  const { dtype = "float32", shape } = shapeOf(spec.schema);
  const area = h("textarea", { rows: 6, class: "code", spellcheck: "false", placeholder: "[[0.0, 1.0], …]" });
  const state = h("p", { class: "state", "aria-live": "polite" });
  const sides = h("input", { type: "text", class: "code", size: 9, "aria-label": "Shape of the values to make up", autocomplete: "off" });
  sides.value = (shape ?? [FREE_SIDE]).map((side) => (Number.isInteger(side) ? side : FREE_SIDE)).join(" × ");
  const choose = chooser({ id: freshId(), text: "Choose .npy", accept: ".npy", label: `${spec.label ?? "Tensor"}: choose a file`, onfile: take }, icon);
  const remove = h("button", { type: "button", class: "button small", hidden: true, onclick: () => { setFile(null); check(); changed(stage); } }, "Remove");
  const fillers = h("div", { class: "tools" },
    h("span", { class: "quiet" }, "or"),
    sides,
    h("button", { type: "button", class: "button small", onclick: () => makeUp("zeros", dtype === "bool" ? () => false : () => 0) }, "Zeros"),
    h("button", { type: "button", class: "button small", onclick: () => makeUp("random", random(dtype)) }, "Random"));
  const stage = h("div", { class: "drop tensor" }, area, h("div", { class: "below" }, state), h("div", { class: "tools" }, choose.element, remove, fillers));
  const field = dress({ ...spec, control: stage, target: area });

  function makeUp(name, make) {
    const wanted = sides.value.split(/[^\d]+/).filter(Boolean).map(Number);
    const amount = wanted.reduce((all, side) => all * side, 1);
    if (amount > 50_000_000) return field.complain(`${wanted.join(" × ")} are ${amount.toLocaleString("en")} values: too many to try with.`);
    field.complain("");
    if (amount > AREA_VALUES) setFile(new Upload(npy.write(dtype, wanted, make), `${name}.npy`), `${dtype} ${wanted.join(" × ")}`);
    else {
      setFile(null);
      area.value = rows(nest(wanted, make));
    }
    check();
    changed(stage);
  }
  async function take(given) {
    field.complain("");
    const head = isNpy(await headOf(given)) ? npy.readHead(await headOf(given, 4096)) : null;
    if (!head && given.size < 200_000) {
      setFile(null);
      area.value = await given.text();
    } else setFile(new Upload(given, given.name || "tensor.npy"), head ? `${head.dtype} ${head.shape.join(" × ") || "scalar"}` : "not .npy");
    check();
    changed(stage);
  }
  function setFile(upload, about = "") {
    file = upload;
    area.hidden = Boolean(file);
    remove.hidden = !file;
    stage.dataset.about = about;
  }
  function check() {
    state.classList.remove("bad");
    if (file) { state.textContent = `${nameAndSize(file)}: ${stage.dataset.about}`; return; }
    if (!area.value.trim()) { state.textContent = ""; return; }
    const { value, wrong } = parse(area.value);
    const found = wrong ? null : shapeOfValue(value);
    state.textContent = wrong ?? (found ? `Shape ${found.join(" × ") || "scalar"}` : "Rows of different lengths, or something that is no number");
    state.classList.toggle("bad", !found);
  }
  area.addEventListener("input", check);
  takesDrops(stage, take);
  check();
  return Object.assign(field, {
    read() {
      if (file) return file;
      if (!area.value.trim()) return emptyValue(field, spec, "A tensor is needed here: nested lists of numbers, or a .npy file.");
      const { value, wrong } = parse(area.value);
      if (wrong) throw new Unfit(field, wrong);
      return value;
    },
    fill(value) {
      setFile(null);
      area.value = value === undefined || value === null ? "" : rows(value);
      check();
    },
    accept(given) { take(given); return true; },
  });
}

function random(dtype) {
  if (dtype === "bool") return () => Math.random() < 0.5;
  if (/^u?int/.test(dtype)) return () => Math.floor(Math.random() * (dtype.endsWith("int8") ? 100 : 10));
  return () => Number(Math.random().toPrecision(3));
}

function nest(shape, make) {
  if (!shape.length) return make();
  return Array.from({ length: shape[0] }, () => nest(shape.slice(1), make));
}

/** The sides of nested lists; null if they are not even, or hold anything but numbers. */
export function shapeOfValue(value) {
  if (isNumber(value) || typeof value === "boolean") return [];
  if (!Array.isArray(value)) return null;
  if (!value.length) return [0];
  const first = shapeOfValue(value[0]);
  if (!first) return null;
  for (const each of value) {
    const inner = shapeOfValue(each);
    if (!inner || inner.join() !== first.join()) return null;
  }
  return [value.length, ...first];
}

/** JSON with the innermost lists on lines of their own. */
export function rows(value, indent = "") {
  if (!Array.isArray(value) || !Array.isArray(value[0])) return `${indent}${JSON.stringify(value).replaceAll(",", ", ")}`;
  return `${indent}[\n${value.map((each) => rows(each, `${indent} `)).join(",\n")}\n${indent}]`;
}
