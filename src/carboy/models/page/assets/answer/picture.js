// A picture of the model: drawn only if its bytes are one.

import { asPicture, sizeWords } from "../data/sniff.js";
import { h, save } from "../dom.js";

let current = null;

/** An element for the bytes, or null if they are no picture. */
export async function picture(blob, { name = "answer", keep = false } = {}) {
  const safe = await asPicture(blob);
  if (!safe) return null;
  const url = URL.createObjectURL(safe);
  if (!keep) {
    if (current) URL.revokeObjectURL(current);
    current = url;
  }
  const caption = h("span", { class: "quiet" }, sizeWords(blob.size));
  const file = `${name}.${safe.type.split("/")[1].replace("jpeg", "jpg")}`;
  const image = h("img", { src: url, alt: "The picture that the model gave", onload: () => { caption.textContent = `${image.naturalWidth} × ${image.naturalHeight}, ${sizeWords(blob.size)}`; } });
  return h("figure", { class: "result" }, image,
    h("figcaption", {}, caption, h("button", { type: "button", class: "button small", onclick: () => save([blob], file) }, "Save")));
}

/** Bytes of a picture in text: a data URL, or plain base64; null for other text. */
export function fromText(text) {
  const encoded = /^data:image\/[\w.+-]+;base64,/.test(text) ? text.slice(text.indexOf(",") + 1) : text;
  if (encoded.length < 32 || !/^[A-Za-z0-9+/]+={0,2}$/.test(encoded)) return null;
  try {
    return new Blob([Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0))]);
  } catch {
    return null;
  }
}
