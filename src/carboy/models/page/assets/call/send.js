// One prediction over the network, and how long it took.

import { keyHeaders } from "./key.js";

/** Returns {response, began}; the body is not read yet. Throws when nobody answers. */
export async function send(url, plan, accept, signal) {
  const headers = { Accept: accept, ...keyHeaders() };
  let body;
  if (plan.kind === "json") {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(plan.value);
  } else {
    body = new FormData();
    for (const { name, upload, text } of plan.parts) {
      if (upload) body.append(name, upload.blob, upload.name);
      else body.append(name, text);
    }
  }
  const began = performance.now();
  const response = await fetch(url, { method: "POST", headers, body, signal });
  return { response, began };
}

/** {queue: 0.2, predict: 11}: milliseconds. Source: https://www.w3.org/TR/server-timing/ */
export function serverTiming(headers) {
  const spans = {};
  for (const metric of (headers.get("Server-Timing") ?? "").split(",")) {
    const [name, ...parameters] = metric.split(";").map((word) => word.trim());
    const duration = parameters.find((word) => word.startsWith("dur="));
    if (name && duration) spans[name] = Number(duration.slice(4).replaceAll('"', ""));
  }
  return spans;
}
