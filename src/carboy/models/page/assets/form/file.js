// Bytes: any file.

import { changed, freshId, h, icon } from "../dom.js";
import { dress, emptyValue } from "./base.js";
import { chooser, nameAndSize, takesDrops, Upload } from "./upload.js";

export function fileField(spec) {
  let chosen = null;
  const state = h("p", { class: "invitation" });
  const choose = chooser({ id: freshId(), text: "Choose a file", label: `${spec.label ?? "Input"}: choose a file`, onfile: take }, icon);
  const remove = h("button", { type: "button", class: "button small", hidden: true, onclick: () => take(null) }, "Remove");
  const stage = h("div", { class: "drop" }, state, h("div", { class: "tools" }, choose.element, remove));
  const field = dress({ ...spec, control: stage, target: choose.input });

  function take(file) {
    chosen = file && new Upload(file, file.name || "file");
    state.textContent = chosen ? nameAndSize(chosen) : "Drop a file here";
    remove.hidden = !chosen;
    field.complain("");
    changed(stage);
  }
  takesDrops(stage, take);
  take(null);
  return Object.assign(field, {
    read: () => chosen ?? emptyValue(field, spec, "A file is needed here."),
    async fill(value) {
      if (typeof value !== "string") return take(null);
      const bytes = Uint8Array.from(atob(value), (c) => c.charCodeAt(0));
      take(new File([bytes], "example.bin"));
    },
    accept(file) { take(file); return true; },
  });
}
