// The call that the page makes, to copy.

import { pretty } from "../data/json.js";
import { copyButton, h, save, segmented } from "../dom.js";
import { curl } from "./curl.js";
import { javascript } from "./javascript.js";
import { python } from "./python.js";

const LANGUAGES = { curl, Python: python, JavaScript: javascript };
// Above this the JSON is a file beside the program.
const INLINE_CHARACTERS = 3000;
const FILE = "input.json";

export function makeSnippets(url, { accept, keyed, stream }) {
  let plan = null;
  let language = "curl";
  const code = h("code", {});
  const saves = h("div", { class: "tools" });
  const choice = segmented("Language", Object.keys(LANGUAGES).map((value) => ({ value, text: value })), (value) => {
    language = value;
    write();
  });
  const element = h("section", { class: "card snippets", "aria-labelledby": "snippets-title" },
    h("div", { class: "head" }, h("h2", { id: "snippets-title" }, "The same call"), choice.element),
    h("div", { class: "code-box" }, h("pre", { tabindex: "0", id: "snippet", "aria-label": "Program" }, code),
      h("div", { class: "tools" }, saves, copyButton("Copy", () => code.textContent))));

  function write() {
    saves.replaceChildren();
    if (!plan) {
      code.textContent = "Fill in the form to see the call.";
      return;
    }
    const large = plan.kind === "json" && JSON.stringify(plan.value).length > INLINE_CHARACTERS;
    code.textContent = LANGUAGES[language](url, plan, { accept, keyed, stream, file: large ? FILE : undefined });
    if (large) saves.append(button(`Save ${FILE}`, () => save([pretty(plan.value)], FILE)));
    for (const { upload } of plan.kind === "multipart" ? plan.parts : []) {
      // What was drawn or pasted is no file yet.
      if (upload && !(upload.blob instanceof File)) saves.append(button(`Save ${upload.name}`, () => save([upload.blob], upload.name)));
    }
  }
  write();
  return { element, show(next) { plan = next; write(); } };
}

const button = (text, onclick) => h("button", { type: "button", class: "button small", onclick }, text);
