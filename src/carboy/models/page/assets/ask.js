// Ask for the API key that the model needs, then show the model's page in place of this one.

import { keyHeaders, useKey } from "./call/key.js";
import { h } from "./dom.js";

const REFUSED = {
  401: "This key is not known, has expired or was revoked.",
  403: "This key may not use this model.",
};

// A text and no password: browsers offer to store passwords.
const input = h("input", { type: "text", class: "secret", id: "key", autocomplete: "off", autocapitalize: "off", spellcheck: "false", required: true, placeholder: "carboy_…" });
const problem = h("p", { class: "problem", role: "alert", hidden: true });
const open = h("button", { class: "button main", id: "open" }, "Open");
const form = h("form", { class: "card input", onsubmit: submit },
  h("div", { class: "head" }, h("label", { class: "label", for: "key" }, "API key")), input, problem, h("div", { class: "actions" }, open));

document.getElementById("model").replaceChildren(form);
input.focus();

async function submit(event) {
  event.preventDefault();
  open.disabled = true;
  useKey(input.value.trim());
  try {
    await show(await fetch(location.pathname, { headers: { Accept: "text/html", ...keyHeaders() } }));
  } catch {
    refuse("The server cannot be reached, or the key has characters that no key has.");
  } finally {
    open.disabled = false;
  }
}

async function show(response) {
  if (!response.ok) {
    refuse(REFUSED[response.status] ?? `The server answered with ${response.status}.`);
    return;
  }
  // It is a page of the same server, which it would have sent at once to a client without a key.
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  document.title = page.title;
  document.body.replaceChildren(...page.body.childNodes);
  await import("./main.js");
}

function refuse(text) {
  useKey("");
  problem.textContent = text;
  problem.hidden = false;
  input.select();
}
