// An answer that comes bit by bit: appended as it comes.

import { decode } from "../data/json.js";
import { h } from "../dom.js";

const MOST_EVENTS = 5000;

/** Show what `source` yields. Returns {shown, failed}: how many came, and the problem that ended it. */
export async function stream(source, place, onfirst) {
  const text = h("div", { class: "stream prose", role: "log" });
  place.replaceChildren(text);
  let shown = 0;
  for await (const { event, data } of source) {
    if (event === "error") return { shown, failed: problemIn(data) };
    if (event === "end" || event === "done") break;
    if (shown++ === 0) onfirst();
    if (shown > MOST_EVENTS) continue;
    append(text, data);
  }
  if (shown > MOST_EVENTS) text.append(h("p", { class: "quiet" }, `${shown - MOST_EVENTS} more are not shown`));
  return { shown };
}

function append(place, data) {
  const nearEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 40;
  let value = data;
  try {
    value = decode(data);
  } catch { /* plain text */ }
  if (typeof value === "string") place.append(value);
  else if (typeof value === "object" && value !== null) place.append(h("code", { class: "line" }, JSON.stringify(value)));
  else place.append(h("code", { class: "line" }, data));
  if (nearEnd) place.scrollTop = place.scrollHeight;
}

function problemIn(data) {
  try {
    const found = JSON.parse(data);
    return typeof found === "object" && found !== null ? found : { detail: String(found) };
  } catch {
    return { detail: data };
  }
}
