// A field to draw on: pen, eraser, undo, clear. What is sent is black on white, whatever the
// colours of the page.

import { changed, h, segmented } from "../dom.js";

const SIDE = 448;
const PENS = { fine: SIDE / 64, wide: SIDE / 16 };

export function drawing(label) {
  const canvas = h("canvas", { width: SIDE, height: SIDE, class: "pad", role: "img", "aria-label": `${label}: drawing field, for a mouse or a finger; by keyboard, choose a file` });
  const brush = canvas.getContext("2d");
  let strokes = [];
  let pointer = null;
  let tool = "pen";
  let width = PENS.wide;

  const tools = segmented("Tool", [{ value: "pen", text: "Pen" }, { value: "eraser", text: "Eraser" }], (value) => { tool = value; });
  const widths = segmented("Width", [{ value: "wide", text: "Wide" }, { value: "fine", text: "Fine" }], (value) => { width = PENS[value]; });
  const undo = h("button", { type: "button", class: "button small", onclick: () => edit(() => strokes.pop()) }, "Undo");
  const clear = h("button", { type: "button", class: "button small", onclick: () => edit(() => { strokes = []; }) }, "Clear");

  function paint() {
    brush.fillStyle = "#fff";
    brush.fillRect(0, 0, SIDE, SIDE);
    brush.lineCap = brush.lineJoin = "round";
    for (const stroke of strokes) line(brush, stroke);
    undo.disabled = clear.disabled = strokes.length === 0;
  }
  function edit(change) {
    change();
    paint();
    changed(canvas);
  }
  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * SIDE, (event.clientY - box.top) / box.height * SIDE];
  }
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || pointer !== null) return;
    event.preventDefault();
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    strokes.push({ points: [place(event)], width: tool === "eraser" ? width * 1.5 : width, colour: tool === "eraser" ? "#fff" : "#000" });
    paint();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    const parts = event.getCoalescedEvents?.() ?? [];
    strokes.at(-1).points.push(...(parts.length ? parts : [event]).map(place));
    paint();
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, (event) => {
      if (event.pointerId !== pointer) return;
      pointer = null;
      changed(canvas);
    });
  }
  paint();
  return {
    element: h("div", { class: "drawing" }, canvas, h("div", { class: "tools" }, tools.element, widths.element, undo, clear)),
    get empty() { return strokes.length === 0; },
    clear: () => { strokes = []; paint(); },
    picture: () => new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); }),
  };
}

function line(brush, { points, width, colour }) {
  brush.strokeStyle = brush.fillStyle = colour;
  brush.lineWidth = width;
  brush.beginPath();
  const [[x, y]] = points;
  if (points.every((point) => point[0] === x && point[1] === y)) {
    // A tap: a canvas draws nothing for a line without length.
    brush.arc(x, y, width / 2, 0, 7);
    brush.fill();
    return;
  }
  brush.moveTo(x, y);
  for (let i = 1; i < points.length; i += 1) { // through the middles: a smooth line
    const [a, b] = [points[i - 1], points[i]];
    brush.quadraticCurveTo(a[0], a[1], (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
  }
  brush.lineTo(...points.at(-1));
  brush.stroke();
}
