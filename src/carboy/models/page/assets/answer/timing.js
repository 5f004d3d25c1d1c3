// How long it took, and what of it was waiting, computing, and the way there and back.

import { h } from "../dom.js";
import { serverTiming } from "../call/send.js";

const NAMES = { queue: "waiting", predict: "predict" };

/** `most`: how many the model takes at once; of one that takes one there is nothing to say. */
export function timing(total, headers, most) {
  const spans = serverTiming(headers);
  const known = Object.entries(NAMES).filter(([name]) => Number.isFinite(spans[name])).map(([name, text]) => ({ name, text, ms: spans[name] }));
  const rest = total - known.reduce((sum, { ms }) => sum + ms, 0);
  const parts = known.length && rest >= 0 ? [...known, { name: "way", text: "network and the rest", ms: rest }] : known;
  const batch = Number(headers.get("X-Batch-Size"));
  const version = headers.get("X-Model-Version");
  const about = [batch > 1 && `in a batch of ${batch}`, batch === 1 && most > 1 && "alone in its batch", version && `version ${version}`].filter(Boolean);
  const line = h("div", { class: "spans", "aria-hidden": "true" }, parts.map(({ name, ms }) => {
    const span = h("span", { class: `span ${name}` });
    span.style.setProperty("flex-grow", Math.max(ms, total / 200));
    return span;
  }));
  return h("div", { class: "timing" },
    h("p", {}, h("strong", {}, milliseconds(total)), about.length > 0 && ` ${about.join(", ")}`),
    parts.length > 0 && line,
    parts.length > 0 && h("ul", { class: "legend" }, parts.map(({ name, text, ms }) => h("li", { class: name }, `${text} ${milliseconds(ms)}`))));
}

export function milliseconds(ms) {
  // As it will be rounded: 999.6 ms are no "1000 ms".
  if (ms >= 999.5) return `${(ms / 1000).toFixed(ms < 9_995 ? 2 : 1)} s`;
  return `${ms < 10 ? ms.toFixed(ms < 1 ? 2 : 1) : Math.round(ms)} ms`;
}
