"use strict";
// Draw, drop, paste or choose; ask the model; show what it says. Nothing the server sends becomes
// markup: all of it is set as text, as a number, or painted.

const byId = (id) => document.getElementById(id);
const pad = byId("pad"), stage = byId("stage"), shown = byId("shown"), form = byId("form"), file = byId("file");
const rows = [...byId("bars").children];
const PEN = 1 / 13; // width of the pen as a share of the field: about that of the scans
const STEP = 1 / 40; // one press of an arrow key

let strokes = []; // lists of points, 0 to 1
let cursor = null; // the keyboard's pen: {x, y, down}
let asking = null; // AbortController of the question under way
let timer = 0;

// --- the field ---------------------------------------------------------------------------------

function paint(canvas, ink, paper) {
  const brush = canvas.getContext("2d"), side = canvas.width;
  brush.clearRect(0, 0, side, side);
  if (paper) { brush.fillStyle = paper; brush.fillRect(0, 0, side, side); }
  brush.strokeStyle = brush.fillStyle = ink;
  brush.lineWidth = side * PEN;
  brush.lineCap = brush.lineJoin = "round";
  for (const points of strokes) {
    brush.beginPath();
    if (points.every((point) => point.x === points[0].x && point.y === points[0].y)) {
      // A tap: a canvas draws nothing for a line without length.
      brush.arc(points[0].x * side, points[0].y * side, side * PEN / 2, 0, 7);
      brush.fill();
      continue;
    }
    brush.moveTo(points[0].x * side, points[0].y * side);
    for (const [i, point] of points.entries()) { // through the middles: a smooth line
      const next = points[i + 1] ?? point;
      brush.quadraticCurveTo(point.x * side, point.y * side, (point.x + next.x) / 2 * side, (point.y + next.y) / 2 * side);
    }
    brush.lineTo(points.at(-1).x * side, points.at(-1).y * side);
    brush.stroke();
  }
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function refresh() {
  paint(pad, colour("--ink"), null);
  if (cursor && document.activeElement === pad) {
    const brush = pad.getContext("2d"), side = pad.width;
    brush.beginPath();
    brush.arc(cursor.x * side, cursor.y * side, side * PEN / 2, 0, 7);
    brush.lineWidth = 5;
    brush.strokeStyle = colour("--accent");
    brush.stroke();
    if (cursor.down) { brush.fillStyle = colour("--accent"); brush.fill(); }
  }
  const empty = strokes.length === 0 && shown.hidden;
  byId("invitation").hidden = !empty;
  byId("clear").disabled = empty;
  byId("undo").disabled = strokes.length === 0 || !shown.hidden;
}

function begin(point) {
  if (!shown.hidden) clear();
  strokes.push([point]);
  refresh();
}

function extend(point) {
  strokes.at(-1).push(point);
  refresh();
}

function changed() {
  refresh();
  clearTimeout(timer);
  if (strokes.length === 0) return forget();
  timer = setTimeout(askDrawing, 150); // a digit may have a second stroke; do not ask in between
}

function clear() {
  strokes = [];
  if (cursor) cursor.down = false;
  hidePicture();
  file.value = "";
  changed();
}

function undo() {
  if (!shown.hidden) return clear();
  strokes.pop();
  if (cursor) cursor.down = false;
  changed();
}

// --- pointer and keys --------------------------------------------------------------------------

function place(event) {
  const box = pad.getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
}

let pointer = null;
pad.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || pointer !== null) return;
  pointer = event.pointerId;
  cursor = null;
  pad.setPointerCapture(pointer);
  begin(place(event));
});
pad.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer) return;
  const all = event.getCoalescedEvents?.() ?? [];
  for (const part of all.length ? all : [event]) extend(place(part));
});
for (const kind of ["pointerup", "pointercancel"]) {
  pad.addEventListener(kind, (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    changed();
  });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
pad.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  cursor ??= { x: 0.5, y: 0.2, down: false };
  if (event.key in ARROWS) {
    const [dx, dy] = ARROWS[event.key];
    cursor.x = Math.min(1, Math.max(0, cursor.x + dx * STEP));
    cursor.y = Math.min(1, Math.max(0, cursor.y + dy * STEP));
    if (cursor.down) extend({ x: cursor.x, y: cursor.y }); else refresh();
  } else if (event.key === " ") {
    if (!shown.hidden) clear();
    cursor.down = !cursor.down;
    if (cursor.down) begin({ x: cursor.x, y: cursor.y }); else changed();
  } else if (event.key === "Backspace") undo();
  else if (event.key === "Escape") clear();
  else return;
  event.preventDefault();
});
pad.addEventListener("focus", () => {
  if (pad.matches(":focus-visible")) cursor ??= { x: 0.5, y: 0.2, down: false };
  refresh();
});
pad.addEventListener("blur", () => {
  if (cursor?.down) { cursor.down = false; changed(); }
  refresh();
});
byId("clear").addEventListener("click", clear);
byId("undo").addEventListener("click", undo);

// --- pictures ----------------------------------------------------------------------------------

file.addEventListener("change", () => { if (file.files[0]) askPicture(file.files[0]); });
form.addEventListener("submit", (event) => event.preventDefault());

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
  askPicture(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => {
  const picture = [...event.clipboardData.files][0];
  if (picture) askPicture(picture);
});

function showPicture(picture) {
  URL.revokeObjectURL(shown.src);
  shown.src = URL.createObjectURL(picture);
  shown.hidden = false;
}

function hidePicture() {
  URL.revokeObjectURL(shown.src);
  shown.removeAttribute("src");
  shown.hidden = true;
}

// --- asking ------------------------------------------------------------------------------------

function askDrawing() {
  const copy = document.createElement("canvas");
  copy.width = copy.height = 280;
  paint(copy, "#000", "#fff");
  copy.toBlob((picture) => ask(picture, "drawing.png"), "image/png");
}

async function askPicture(picture) {
  clearTimeout(timer);
  strokes = [];
  hidePicture();
  refresh();
  // Only what the model could read is shown; a browser would try to draw anything.
  if (await ask(picture, picture.name || "picture")) showPicture(picture);
  refresh();
}

async function ask(picture, name) {
  asking?.abort();
  const mine = asking = new AbortController();
  const body = new FormData();
  body.append(file.name, picture, name);
  if (byId("answer").dataset.state === "full") byId("answer").dataset.state = "stale";
  const began = performance.now();
  try {
    const response = await fetch(form.action, { method: "POST", body, signal: mine.signal, headers: { Accept: "application/json" } });
    const answer = await response.json().catch(() => null);
    if (mine.signal.aborted) return false;
    if (!response.ok) {
      // "at `$.image`" is for programs; here there is only one thing it can be about.
      const detail = answer?.detail?.replace(/ - at `[^`]*`/g, "");
      complain(detail ?? `The server answered ${response.status} ${response.statusText}.`);
      return false;
    }
    show(answer, performance.now() - began);
    return true;
  } catch (error) {
    if (error.name !== "AbortError") complain("The server cannot be reached. Is it still running?");
    return false;
  }
}

// --- the answer --------------------------------------------------------------------------------

// No-break spaces; and no network is ever quite sure.
function percent(share) {
  if (share > 0.999) return ">99.9\u00a0%";
  return share > 0 && share < 0.001 ? "<0.1\u00a0%" : `${(share * 100).toFixed(1)}\u00a0%`;
}

function show(answer, took) {
  const sure = answer.probability;
  const words = sure > 0.9 ? "It is a" : sure > 0.6 ? "It is probably a" : "It might be a";
  const article = answer.digit === 8 ? `${words}n` : words;
  byId("answer").dataset.state = "full";
  byId("problem").hidden = true;
  byId("digit").textContent = answer.digit;
  byId("sentence").textContent = `${article} ${answer.digit}.`;
  byId("timing").textContent = `${percent(sure)} sure, answered in ${Math.max(1, Math.round(took))} ms`;
  rows.forEach((row, digit) => {
    const share = answer.probabilities[digit];
    row.classList.toggle("best", digit === answer.digit);
    row.querySelector(".bar").style.setProperty("--share", share);
    row.querySelector(".share").textContent = percent(share);
  });
  paintSeen(answer.seen);
}

let lastSeen = null;
function paintSeen(cells) {
  lastSeen = cells;
  const canvas = byId("seen"), brush = canvas.getContext("2d");
  brush.clearRect(0, 0, 8, 8);
  brush.fillStyle = colour("--ink");
  for (const [i, cell] of (cells ?? []).entries()) {
    brush.globalAlpha = cell / 16;
    brush.fillRect(i % 8, Math.floor(i / 8), 1, 1);
  }
  canvas.setAttribute("aria-label", `What the model saw: ${cells ? "8 by 8 cells of ink" : "nothing yet"}`);
}

function forget() {
  asking?.abort();
  byId("answer").dataset.state = "empty";
  byId("problem").hidden = true;
  byId("digit").textContent = "?";
  byId("sentence").textContent = "Nothing to look at yet.";
  byId("timing").textContent = "\u00a0";
  for (const row of rows) {
    row.classList.remove("best");
    row.querySelector(".bar").style.setProperty("--share", 0);
    row.querySelector(".share").textContent = "–";
  }
  paintSeen(null);
}

function complain(text) {
  forget();
  byId("sentence").textContent = "That did not work.";
  byId("problem").textContent = text;
  byId("problem").hidden = false;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { refresh(); paintSeen(lastSeen); });
refresh();
