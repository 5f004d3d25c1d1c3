// A picture: dropped, pasted, chosen, or drawn.

import { asPicture } from "../data/sniff.js";
import { changed, freshId, h, icon, segmented } from "../dom.js";
import { dress, emptyValue } from "./base.js";
import { drawing } from "./drawing.js";
import { chooser, dataUrl, nameAndSize, takesDrops, Upload } from "./upload.js";

export function pictureField(spec) {
  let chosen = null;
  let mode = "file";
  const label = spec.label ?? "Picture";
  const shown = h("img", { class: "preview", alt: "The picture to send", hidden: true });
  const state = h("p", { class: "invitation" });
  const choose = chooser({ id: freshId(), text: "Choose a picture", accept: "image/*", label: `${label}: choose a file`, onfile: take }, icon);
  const remove = h("button", { type: "button", class: "button small", hidden: true, onclick: () => take(null) }, "Remove");
  const pad = drawing(label);
  const stage = h("div", { class: "drop picture" }, shown, state, h("div", { class: "tools" }, choose.element, remove));
  const ways = segmented("How to give the picture", [{ value: "file", text: "File" }, { value: "draw", text: "Draw" }], (value) => {
    mode = value;
    stage.hidden = mode !== "file";
    pad.element.hidden = mode !== "draw";
    changed(stage);
  });
  pad.element.hidden = true;
  const field = dress({ ...spec, control: h("div", {}, h("div", { class: "ways" }, ways.element), stage, pad.element), target: choose.input });

  async function take(file) {
    chosen = file && new Upload(file, file.name || "picture.png", () => dataUrl(file));
    if (mode !== "file") ways.select("file");
    field.complain("");
    await preview();
    changed(stage);
  }
  async function preview() {
    const mine = chosen;
    const picture = mine && await asPicture(mine.blob);
    if (mine !== chosen) return;
    if (shown.src) URL.revokeObjectURL(shown.src);
    if (picture) shown.src = URL.createObjectURL(picture);
    else shown.removeAttribute("src");
    shown.hidden = !picture;
    remove.hidden = !mine;
    // Only what is a picture by its content is drawn; the model decides about the rest.
    state.textContent = mine ? nameAndSize(mine) + (picture ? "" : " – no preview") : "Drop or paste a picture here";
  }
  shown.addEventListener("load", () => {
    if (chosen) state.textContent = `${nameAndSize(chosen)}, ${shown.naturalWidth} × ${shown.naturalHeight}`;
  });
  takesDrops(stage, take);
  takesDrops(pad.element, take);
  preview();
  return Object.assign(field, {
    async read() {
      if (mode === "draw" && !pad.empty) {
        const blob = await pad.picture();
        return new Upload(blob, "drawing.png", () => dataUrl(blob));
      }
      return (mode === "file" && chosen) || emptyValue(field, spec, mode === "draw" ? "Draw something first." : "A picture is needed here.");
    },
    async fill(value) {
      pad.clear();
      const blob = typeof value === "string" ? decode(value) : null;
      await take(blob && new File([blob], `example.${(await asPicture(blob))?.type.split("/")[1] ?? "png"}`, { type: blob.type }));
    },
    accept(file) { take(file); return true; },
  });
}

function decode(text) {
  const bytes = Uint8Array.from(atob(text.replace(/^data:[^,]*,/, "")), (c) => c.charCodeAt(0));
  return new Blob([bytes], { type: /^data:([^;,]*)/.exec(text)?.[1] ?? "image/png" });
}
