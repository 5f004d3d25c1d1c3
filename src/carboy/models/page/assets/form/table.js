// A table: pasted from a spreadsheet or a CSV file, or dropped as CSV or Parquet.

import * as csv from "../data/csv.js";
import { headOf, isParquet } from "../data/sniff.js";
import { changed, freshId, h, icon } from "../dom.js";
import { grid } from "../answer/grid.js";
import { dress, emptyValue, Unfit } from "./base.js";
import { base64, chooser, nameAndSize, takesDrops, Upload } from "./upload.js";

const PREVIEW_ROWS = 5;
// Text above this is kept as a file: a text area with megabytes in it stalls the page.
const AREA_BYTES = 200_000;

export function tableField(spec) {
  let file = null;
  let loaded = null; // the file whose text stands in the area, as long as nobody changes it
  const columns = columnsOf(spec.schema);
  const missing = (head) => (spec.schema.items?.required ?? []).filter((name) => !head.includes(name));
  const area = h("textarea", { rows: 5, class: "code", wrap: "off", spellcheck: "false", placeholder: columns.length ? `${columns.join(",")}\n…` : "Paste cells from a spreadsheet, or CSV with a head line" });
  const state = h("p", { class: "state", "aria-live": "polite" });
  const preview = h("div", { class: "preview-grid" });
  const choose = chooser({ id: freshId(), text: "Choose CSV or Parquet", accept: ".csv,.tsv,.txt,.parquet,text/csv", label: `${spec.label ?? "Table"}: choose a file`, onfile: take }, icon);
  const remove = h("button", { type: "button", class: "button small", hidden: true, onclick: () => { setFile(null); show(); } }, "Remove");
  const stage = h("div", { class: "drop table" }, area, preview, h("div", { class: "below" }, state, h("div", { class: "tools" }, choose.element, remove)));
  const field = dress({ ...spec, control: stage, target: area });

  async function take(given) {
    field.complain("");
    if (given.size <= AREA_BYTES && !isParquet(await headOf(given))) {
      setFile(null);
      area.value = await given.text();
      loaded = { text: area.value, file: given };
    } else setFile(new Upload(given, given.name || "table.parquet", () => spell(given)));
    show();
    changed(stage);
  }
  function setFile(upload) {
    file = upload;
    area.hidden = Boolean(file);
    remove.hidden = !file;
  }
  function show() {
    const rows = file ? [] : csv.parse(area.value);
    const [head, ...body] = rows;
    preview.replaceChildren(...(rows.length ? [grid(head, body.slice(0, PREVIEW_ROWS))] : []));
    state.textContent = file ? nameAndSize(file) : rows.length ? tell(head, body, missing(head)) : "";
    state.classList.toggle("bad", !file && rows.length > 0 && missing(head).length > 0);
  }
  area.addEventListener("input", show);
  takesDrops(stage, take);
  show();
  return Object.assign(field, {
    read() {
      if (file) return file;
      const rows = csv.parse(area.value);
      if (!rows.length) return emptyValue(field, spec, "A table is needed here: a line of names, then rows.");
      const uneven = rows.findIndex((row) => row.length !== rows[0].length);
      if (uneven > 0) throw new Unfit(field, `Row ${uneven} has ${rows[uneven].length} cells, the head has ${rows[0].length}.`);
      // The text as it is: the model knows its delimiters and decimal commas, and JSON may hold it.
      const text = area.value;
      const given = loaded?.text === text && loaded.file.name ? loaded.file : null;
      return new Upload(given ?? new Blob([text], { type: "text/csv" }), given?.name ?? "table.csv", () => text);
    },
    fill(value) {
      setFile(null);
      area.value = Array.isArray(value) ? csv.write(rowsOf(value)) : value?.columns && value?.data ? csv.write([value.columns, ...value.data]) : typeof value === "string" ? value : "";
      show();
    },
    accept(given) { take(given); return true; },
    /** `[1].weight` as one counts in a spreadsheet. */
    place(rest) {
      const [, row, column] = /^\[(\d+)\](?:\.(.+))?$/.exec(rest) ?? [];
      return row && `Row ${Number(row) + 1}${column ? `, ${column}` : ""}`;
    },
  });
}

async function spell(blob) {
  return isParquet(await headOf(blob)) ? base64(blob) : blob.text();
}

/** The names of the declared columns; none where any will do. */
export const columnsOf = (schema) => Object.keys(schema.items?.properties ?? {});

function tell(head, body, lacking) {
  if (lacking.length) return `No column ${lacking.slice(0, 5).join(", ")}`;
  return `${body.length} row${body.length === 1 ? "" : "s"}, ${head.length} column${head.length === 1 ? "" : "s"}`;
}

export function rowsOf(objects) {
  const head = [...new Set(objects.flatMap((each) => Object.keys(each ?? {})))];
  return [head, ...objects.map((each) => head.map((name) => each?.[name]))];
}
