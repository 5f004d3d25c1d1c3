// The page of one model: a form on the left, the answer on the right, the call below.
// Nothing that comes from elsewhere becomes markup: see dom.js.

import { acceptFor, makeAnswer } from "./answer/answer.js";
import { compose } from "./call/compose.js";
import { send } from "./call/send.js";
import { decode } from "./data/json.js";
import { h } from "./dom.js";
import { Unfit } from "./form/base.js";
import { makeForm } from "./form/form.js";
import { makeSnippets } from "./snippets/snippets.js";

const model = decode(document.getElementById("description").textContent);
const url = new URL(location.pathname, location.href);
const accept = acceptFor(model);

const form = makeForm(model);
const answer = makeAnswer(model);
const snippets = makeSnippets(url.href, { accept, keyed: model.keyed, stream: model.streams });

let asking = null;
const predict = h("button", { class: "button main", id: "predict" }, "Predict");
const stop = h("button", { class: "button", type: "button", id: "stop", hidden: true, onclick: () => asking?.abort() }, "Stop");
const examples = model.examples.map(({ title, value }) => h("button", { class: "button", type: "button", onclick: () => { form.fill(value); refresh(); } }, title));
const element = h("form", { class: "card input", novalidate: true, "aria-labelledby": "input-title", onsubmit: submit },
  h("h2", { id: "input-title" }, "Input"), form.element,
  h("div", { class: "actions" }, predict, stop, examples, h("span", { class: "keys quiet" }, h("kbd", {}, "Ctrl"), " ", h("kbd", {}, "Enter"))));

const main = document.getElementById("model");
// The answer keeps beside the form, and never slides over the call below.
main.replaceChildren(h("div", { class: "pair" }, element, h("div", { class: "right" }, answer.element)), snippets.element);

// --- asking ------------------------------------------------------------------------------------

async function submit(event) {
  event.preventDefault();
  asking?.abort();
  const mine = asking = new AbortController();
  let plan;
  try {
    plan = await compose(await form.read(), model.parameters);
  } catch (error) {
    if (!(error instanceof Unfit)) throw error;
    form.reject(error);
    answer.forget();
    asking = null;
    return;
  }
  if (mine.signal.aborted) return;
  form.clean();
  snippets.show(plan);
  busy(true);
  answer.waiting();
  try {
    const errors = await answer.show(await send(url, plan, accept ? `${accept}, application/json;q=0.9, */*;q=0.5` : "application/json, */*;q=0.5", mine.signal));
    if (!mine.signal.aborted) form.complain(errors);
  } catch (error) {
    if (mine === asking) mine.signal.aborted ? answer.stopped() : answer.unreachable();
    if (!mine.signal.aborted && !(error instanceof TypeError)) throw error;
  } finally {
    if (mine === asking) {
      asking = null;
      busy(false);
    }
  }
}

function busy(yes) {
  stop.hidden = !yes;
  element.setAttribute("aria-busy", String(yes));
  predict.textContent = yes ? "Predict again" : "Predict";
}

// --- keeping up --------------------------------------------------------------------------------

let scheduled = 0;
function refresh() {
  clearTimeout(scheduled);
  scheduled = setTimeout(async () => {
    try {
      snippets.show(await compose(await form.read(), model.parameters));
    } catch (error) {
      if (!(error instanceof Unfit)) throw error;
      snippets.show(null);
    }
  }, 60);
}
for (const kind of ["input", "change", "changed"]) element.addEventListener(kind, refresh);
refresh();

addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    element.requestSubmit();
  }
});
addEventListener("paste", (event) => {
  const file = event.clipboardData?.files[0];
  if (file && form.accept(file)) event.preventDefault();
});
// A file that misses its field goes to the first one that takes files, and never replaces the page.
addEventListener("dragover", (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); });
addEventListener("drop", (event) => {
  const file = event.dataTransfer?.files[0];
  if (!file) return;
  event.preventDefault();
  form.accept(file);
});
