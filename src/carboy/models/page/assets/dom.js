// Elements are made by name and filled with text. Nothing in this page parses markup: names,
// docstrings and answers come from elsewhere, and are shown as they are.

/** h("p", {class: "quiet", onclick: act}, "text", element): `undefined`, null and false are left out. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** A line drawing of 20 x 20, next to a word that says the same. */
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

let numbered = 0;
/** An id that no other element has. */
export const freshId = (prefix = "f") => `${prefix}-${++numbered}`;

/** Tell whoever listens further up that the input is another one now. */
export const changed = (element) => element.dispatchEvent(new Event("changed", { bubbles: true }));

/** One of a few, side by side; arrow keys and screen readers know it as radio buttons. */
export function segmented(label, options, choose) {
  const name = freshId("choice");
  const inputs = options.map(({ value }, i) =>
    h("input", { type: "radio", name, value, id: `${name}-${i}`, checked: i === 0, onchange: () => choose(value) }));
  const element = h("div", { class: "segmented", role: "radiogroup", "aria-label": label },
    options.map(({ text }, i) => [inputs[i], h("label", { for: `${name}-${i}` }, text)]));
  return {
    element,
    select(value) {
      for (const input of inputs) input.checked = input.value === String(value);
      choose(value);
    },
    get value() { return inputs.find((input) => input.checked)?.value; },
  };
}

/** A button that says for a moment that it has done it. */
export function copyButton(text, read) {
  const words = h("span", {}, text);
  return h("button", {
    type: "button",
    class: "button small",
    onclick: async () => {
      try {
        await copy(read());
        words.textContent = "Copied";
      } catch {
        words.textContent = "Select it and press Ctrl+C";
      }
      setTimeout(() => { words.textContent = text; }, 1600);
    },
  }, words);
}

async function copy(text) {
  // Browsers offer the clipboard on https and localhost alone; models are often tried on neither.
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = h("textarea", { readonly: true, class: "offscreen", "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("not copied");
}

/** Let the browser save bytes under a name. The type says that they are bytes, whatever they hold. */
export function save(parts, name) {
  const url = URL.createObjectURL(new Blob(parts, { type: "application/octet-stream" }));
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
