"use strict";

// The form works without this script: it sends the files and gets the page again. With it, chosen
// pictures are shown first, and each is sent on its own, with a progress bar and its own error.

const byId = (id) => document.getElementById(id);
const form = byId("form"), file = byId("file"), queue = byId("queue"), wall = byId("wall");
const send = byId("send"), clear = byId("clear");
const types = file.accept.split(","), maxBytes = Number(form.dataset.maxBytes);

let chosen = []; // {file, row, state}: "ready", "sending", "failed"
let busy = false;

// --- choosing --------------------------------------------------------------------------------

file.required = false; // files that were dropped are not in the field

function add(files) {
  say("");
  for (const each of files) {
    const row = byId("row").content.cloneNode(true).firstElementChild;
    const item = { file: each, row, state: "ready" };
    row.querySelector(".name").textContent = each.name || "pasted picture";
    row.querySelector(".remove").setAttribute("aria-label", `Do not upload ${each.name}`);
    row.querySelector(".remove").addEventListener("click", () => drop(item));
    row.querySelector("progress").setAttribute("aria-label", `Uploading ${each.name}`);
    note(item, "ready", size(each.size));
    if (!types.includes(each.type)) note(item, "refused", "Not a PNG, JPEG, WebP or GIF");
    else if (each.size > maxBytes) note(item, "refused", `${size(each.size)}, more than ${size(maxBytes)}`);
    else show(item);
    chosen.push(item);
    queue.append(row);
  }
  refresh();
}

function show({ file: picture, row }) {
  const thumb = row.querySelector("img");
  thumb.addEventListener("load", () => { thumb.hidden = false; });
  thumb.src = URL.createObjectURL(picture);
}

function drop(item) {
  item.request?.abort();
  const focused = item.row.contains(document.activeElement);
  URL.revokeObjectURL(item.row.querySelector("img").src);
  item.row.remove();
  chosen = chosen.filter((each) => each !== item);
  refresh();
  if (focused) (queue.querySelector(".remove") ?? file).focus();
}

function note(item, state, text) {
  item.state = state;
  item.row.dataset.state = state === "refused" ? "failed" : state;
  item.row.querySelector(".note").textContent = text;
  item.row.querySelector("progress").hidden = state !== "sending";
}

const waiting = () => chosen.filter(({ state }) => state === "ready" || state === "failed");

function refresh() {
  const many = waiting().length;
  queue.hidden = chosen.length === 0;
  clear.hidden = chosen.length === 0 || busy;
  send.disabled = busy || many === 0;
  send.textContent = busy ? "Uploading…" : many > 1 ? `Upload ${many} pictures` : "Upload";
  byId("count").textContent = wall.children.length;
  byId("empty").hidden = wall.children.length > 0;
}

function say(text, bad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", bad);
}

function size(bytes) {
  return bytes < 1048576 ? `${Math.max(1, Math.round(bytes / 1024))} kB` : `${(bytes / 1048576).toFixed(1)} MB`;
}

file.addEventListener("change", () => { add(file.files); file.value = ""; });
clear.addEventListener("click", () => { for (const item of [...chosen]) drop(item); file.focus(); });

let depth = 0; // dragenter and dragleave come for every element on the way
const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => { if (carriesFile(event)) { depth += 1; byId("curtain").hidden = false; } });
addEventListener("dragleave", (event) => { if (carriesFile(event) && --depth <= 0) { depth = 0; byId("curtain").hidden = true; } });
addEventListener("dragover", (event) => { if (carriesFile(event)) event.preventDefault(); });
addEventListener("drop", (event) => {
  depth = 0;
  byId("curtain").hidden = true;
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  add(event.dataTransfer.files);
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) add(event.clipboardData.files);
});

// --- sending ---------------------------------------------------------------------------------

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (busy) return;
  busy = true;
  let stored = 0, failed = 0;
  for (const item of waiting()) {
    if (!chosen.includes(item)) continue; // removed in the meantime
    note(item, "sending", size(item.file.size));
    refresh();
    try {
      const [picture] = await upload(item);
      pin(picture, item.file.name);
      drop(item);
      stored += 1;
    } catch (error) {
      if (error.name === "AbortError") continue;
      note(item, "failed", error.message);
      failed += 1;
    }
  }
  busy = false;
  refresh();
  const done = stored === 1 ? "1 picture is stored." : `${stored} pictures are stored.`;
  if (failed) say(`${stored ? `${done} ` : ""}${failed} could not be stored.`, true);
  else if (stored) say(done);
});

// `fetch` does not tell how much was sent.
function upload(item) {
  return new Promise((resolve, reject) => {
    const request = item.request = new XMLHttpRequest();
    const bar = item.row.querySelector("progress");
    request.upload.addEventListener("progress", ({ loaded, total }) => { bar.value = loaded / total; });
    request.addEventListener("load", () => {
      const answer = parsed(request.responseText);
      if (request.status < 300) resolve(answer);
      else reject(new Error(reason(answer) ?? `The server answered ${request.status} ${request.statusText}.`));
    });
    request.addEventListener("error", () => reject(new Error("The server cannot be reached, or it refused so large a file.")));
    request.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    const body = new FormData();
    body.append(file.name, item.file, item.file.name || "picture");
    request.send(body);
  });
}

// The name in `detail` stands in the row already.
function reason(problem) {
  const fault = problem?.errors?.[0];
  return fault ? `Expected ${fault.expected}, got ${fault.got}.` : problem?.detail;
}

function parsed(text) {
  try { return JSON.parse(text); } catch { return null; }
}

// --- the wall --------------------------------------------------------------------------------

function pin(picture, name) {
  const tile = byId("tile").content.cloneNode(true).firstElementChild;
  const image = tile.querySelector("img");
  tile.classList.add("new");
  tile.querySelector("a").href = image.src = picture.url;
  image.alt = name;
  tile.querySelector("form").action = `${picture.url}/remove`;
  tile.querySelector(".remove").setAttribute("aria-label", `Remove ${name}`);
  wall.prepend(tile);
}

wall.addEventListener("submit", async (event) => {
  event.preventDefault();
  const tile = event.target.closest(".tile");
  const answer = await fetch(event.target.action, { method: "POST", headers: { Accept: "application/json" } }).catch(() => null);
  if (!answer?.ok && answer?.status !== 404) return say("The picture could not be removed.", true);
  const next = (tile.nextElementSibling ?? tile.previousElementSibling)?.querySelector(".remove");
  tile.remove();
  refresh();
  say("The picture is removed.");
  (next ?? file).focus();
});

refresh();
