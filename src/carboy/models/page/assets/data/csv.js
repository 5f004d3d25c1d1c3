// Tables as text: commas, semicolons, or tabs as a spreadsheet copies them.
// Source: RFC 4180.

/** Rows of cells. The delimiter is the one that the first line has most of. */
export function parse(text, delimiter = delimiterOf(text)) {
  const rows = [];
  let row = [], cell = "", quoted = false, i = 0;
  const source = text.replace(/^\uFEFF/, "");
  const endRow = () => {
    row.push(cell);
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
    cell = "";
  };
  while (i < source.length) {
    const c = source[i++];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (source[i] === '"') cell += source[i++];
      else quoted = false;
    } else if (c === '"' && cell === "") quoted = true;
    else if (c === delimiter) { row.push(cell); cell = ""; }
    else if (c === "\n") endRow();
    else if (c !== "\r" || source[i] !== "\n") cell += c === "\r" ? " " : c;
  }
  if (cell !== "" || row.length) endRow();
  return rows;
}

/** "\t", ";" or ",". */
export function delimiterOf(text) {
  const line = text.slice(0, 10_000).replace(/"[^"]*"/g, "").split("\n", 1)[0];
  const amount = (c) => line.split(c).length;
  return ["\t", ";", ","].reduce((best, c) => (amount(c) > amount(best) ? c : best), ",");
}

/** Rows as CSV. */
export const write = (rows) => rows.map((row) => row.map(quote).join(",")).join("\n") + "\n";

function quote(cell) {
  const text = cell === null || cell === undefined ? "" : typeof cell === "object" ? JSON.stringify(cell) : String(cell);
  return /[",\n\r]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
