// Answers that come bit by bit: server-sent events, or a line of JSON at a time.
// Source: https://html.spec.whatwg.org/multipage/server-sent-events.html

/** Yields {event, data} for each event; comments, which keep the connection alive, are skipped. */
export async function* events(body) {
  let event = "message", data = [];
  for await (const line of lines(body)) {
    if (line === "") {
      if (data.length) yield { event, data: data.join("\n") };
      event = "message";
      data = [];
      continue;
    }
    const colon = line.indexOf(":");
    if (colon === 0) continue;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") data.push(value);
    else if (name === "event") event = value;
  }
  if (data.length) yield { event, data: data.join("\n") };
}

/** The same for JSON lines. */
export async function* jsonLines(body) {
  for await (const line of lines(body)) {
    if (line.trim()) yield { event: "message", data: line };
  }
}

export async function* chunks(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function* lines(body) {
  let rest = "";
  for await (const text of chunks(body)) {
    // A "\r" at the end may be half of a "\r\n".
    const all = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = all.pop();
    yield* all;
  }
  if (rest) yield rest.replace(/\r$/, "");
}
