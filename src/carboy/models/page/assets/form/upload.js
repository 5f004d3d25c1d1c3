// A value that travels as a file: its bytes, a name, and how it is written inside JSON.

import { h } from "../dom.js";
import { sizeWords } from "../data/sniff.js";

export class Upload {
  /** `json`: how it is spelled inside JSON; by default base64. */
  constructor(blob, name, json = () => base64(blob)) {
    this.blob = blob;
    this.name = name;
    this.json = json;
  }
}

export async function base64(blob) {
  return (await dataUrl(blob)).split(",", 2)[1];
}

export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

const ARROW = "M10 13V3.5m0 0L6.2 7.3M10 3.5l3.8 3.8M3.5 12.5v3a1.5 1.5 0 0 0 1.5 1.5h10a1.5 1.5 0 0 0 1.5-1.5v-3";

/** A button to choose a file; the input itself stays in the tab order. */
export function chooser({ id, text, accept, label, onfile }, makeIcon) {
  const input = h("input", {
    type: "file", id, accept, class: "file", "aria-label": label,
    onchange: () => { if (input.files[0]) onfile(input.files[0]); input.value = ""; },
  });
  return { input, element: h("span", { class: "chooser" }, input, h("label", { class: "button small", for: id }, makeIcon(ARROW), text)) };
}

/** Let an element take files that are dropped on it. */
export function takesDrops(element, onfile) {
  let depth = 0;
  const over = (more) => {
    depth = Math.max(0, depth + more);
    element.classList.toggle("over", depth > 0);
  };
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  element.addEventListener("dragenter", (event) => { if (carries(event)) over(1); });
  element.addEventListener("dragleave", (event) => { if (carries(event)) over(-1); });
  element.addEventListener("dragover", (event) => { if (carries(event)) event.preventDefault(); });
  element.addEventListener("drop", (event) => {
    over(-depth);
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    event.preventDefault();
    event.stopPropagation();
    onfile(file);
  });
}

export const nameAndSize = (upload) => `${upload.name}, ${sizeWords(upload.blob.size)}`;
