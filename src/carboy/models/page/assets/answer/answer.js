// The right side of the page: what came back, shown as what it is.

import { chunks, events, jsonLines } from "../call/events.js";
import * as csv from "../data/csv.js";
import { sizeWords } from "../data/sniff.js";
import { decode, pretty } from "../data/json.js";
import { copyButton, h, save } from "../dom.js";
import { describe, words } from "../schema.js";
import { picture } from "./picture.js";
import { problemOf, wordsFor } from "./problem.js";
import { stream } from "./stream.js";
import { milliseconds, timing } from "./timing.js";
import { show, tableOf } from "./value.js";

const STREAMS = { "text/event-stream": events, "application/x-ndjson": jsonLines, "application/jsonl": jsonLines, "application/json-seq": jsonLines };
const MOST_RAW = 200_000;
// Above this the page would stand still for seconds to show what nobody reads.
const MOST_JSON = 20_000_000;

/** What to ask for, so that the answer comes in the form that shows best; the rest by default. */
export function acceptFor({ answers = [], streams }) {
  if (streams) return "text/event-stream";
  // A value that is no JSON by default: a picture, bytes, sound.
  return answers[0] !== "application/json" ? answers[0] : undefined;
}

export function makeAnswer({ output, name, streams, batch }) {
  const status = h("p", { class: "status", role: "status" }, "The answer appears here.");
  const place = h("div", { class: "place" }, gives(output, streams));
  const measured = h("div", {});
  const element = h("section", { class: "card answer", id: "answer", "data-state": "empty", "aria-labelledby": "answer-title" },
    h("h2", { id: "answer-title" }, "Answer"), status, place, measured);
  const state = (value, text) => {
    element.dataset.state = value;
    status.textContent = text;
  };

  return {
    element,
    waiting() {
      state("waiting", "Asking the model…");
      // On a phone it stands below the form.
      if (element.getBoundingClientRect().top > innerHeight - 80) {
        element.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
      }
    },
    stopped() { state("stopped", "Stopped."); },
    forget() {
      state("empty", "The answer appears here.");
      place.replaceChildren(gives(output, streams));
      measured.replaceChildren();
    },
    unreachable() {
      state("failed", "The server cannot be reached.");
      place.replaceChildren(h("p", {}, "Is it still running? What you have entered is kept."));
      measured.replaceChildren();
    },
    /** Show a response. Returns the errors to put next to fields. */
    async show({ response, began }) {
      if (!response.ok) return failed(await problemOf(response), performance.now() - began, response.headers);
      const type = (response.headers.get("Content-Type") ?? "").split(";")[0].trim().toLowerCase();
      // A hook of the app answered instead of the model, which never answers with a page.
      if (type === "text/html") return failed({ title: "A page came instead of an answer.", detail: "Perhaps you have to log in first.", errors: [] });
      if (type in STREAMS || (type === "text/plain" && streams)) {
        return follow(type in STREAMS ? STREAMS[type](response.body) : plainText(response.body), response, began);
      }
      const blob = await response.blob();
      const total = performance.now() - began;
      const shown = await elementFor(blob, type);
      place.replaceChildren(...shown);
      measured.replaceChildren(timing(total, response.headers, batch));
      const headline = place.querySelector(".big")?.textContent.slice(0, 100);
      state("full", `${headline ? `${headline}. ` : ""}Answered in ${milliseconds(total)}.`);
      return [];
    },
  };

  function failed(problem, total, headers) {
    const { title, detail, errors, status: code } = problem;
    state("failed", title);
    const marked = errors.length > 0 && `${errors.length === 1 ? "One place needs" : `${errors.length} places need`} another value: see the form.`;
    place.replaceChildren(...(marked ? [h("p", {}, marked)] : detail ? [h("p", { class: "prose" }, detail)] : []), ...(code ? [h("p", { class: "quiet" }, `Status ${code}`)] : []));
    measured.replaceChildren(...(headers ? [timing(total, headers, batch)] : []));
    return errors;
  }

  async function follow(source, response, began) {
    let first = 0;
    state("streaming", "The answer is coming…");
    measured.replaceChildren();
    const { shown, failed: found } = await stream(source, place, () => { first = performance.now() - began; });
    const total = performance.now() - began;
    if (found) {
      const { title, detail } = wordsFor(found);
      state("failed", found.status ? title : "The model failed amid its answer.");
      place.append(h("p", { class: "problem" }, detail || title));
      return [];
    }
    state("full", `${shown} part${shown === 1 ? "" : "s"} in ${milliseconds(total)}, the first after ${milliseconds(first)}.`);
    measured.replaceChildren(timing(total, response.headers, batch));
    return [];
  }

  async function elementFor(blob, type) {
    if (type === "application/json" || type.endsWith("+json")) return json(await blob.text());
    if (type.startsWith("image/")) {
      const shown = await picture(blob, { name });
      if (shown) return [shown];
    }
    if (type === "text/csv") return [tableOf(csv.parse(await blob.text(), ","))];
    if (type.startsWith("text/")) {
      const text = await blob.text();
      return [h("p", { class: "prose" }, text.slice(0, MOST_RAW))];
    }
    if (!blob.size) return [h("p", { class: "quiet" }, "An answer without content.")];
    const text = blob.size <= MOST_RAW ? await asText(blob) : null;
    return [text !== null && h("pre", {}, text), h("div", { class: "below" }, h("p", { class: "state" }, sizeWords(blob.size)), h("button", { type: "button", class: "button small", onclick: () => save([blob], name) }, "Save"))].filter(Boolean);
  }

  async function json(text) {
    let value;
    if (text.length > MOST_JSON) return [h("p", {}, `${sizeWords(text.length)} of JSON`), h("button", { type: "button", class: "button small", onclick: () => save([text], `${name}.json`) }, "Save")];
    try {
      value = decode(text);
    } catch {
      return [h("p", { class: "prose" }, text.slice(0, MOST_RAW))];
    }
    const raw = text.length > MOST_RAW ? `${text.slice(0, MOST_RAW)}…` : pretty(value);
    return [await show(value, output),
      h("details", { class: "raw" }, h("summary", {}, "JSON"),
        h("div", { class: "code-box" }, h("pre", { tabindex: "0" }, h("code", {}, raw)), h("div", { class: "tools" }, copyButton("Copy", () => text), h("button", { type: "button", class: "button small", onclick: () => save([text], `${name}.json`) }, "Save"))))];
  }
}

async function asText(blob) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await blob.arrayBuffer());
    return text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}

/** What the model's types promise. */
function gives(output, streams) {
  const { kind, schema, defs } = describe(output);
  const members = kind === "record" ? Object.entries(schema.properties) : [];
  const type = words(output).replace(/^(JSON|object|list)$/, "");
  return h("ul", { class: "gives" }, members.length
    ? members.slice(0, 12).map(([name, each]) => h("li", {}, h("b", {}, name), words(each, defs)))
    : type && h("li", {}, streams ? `A stream: ${type}, as it comes` : type.charAt(0).toUpperCase() + type.slice(1)));
}

async function* plainText(body) {
  for await (const text of chunks(body)) yield { event: "message", data: JSON.stringify(text) };
}
