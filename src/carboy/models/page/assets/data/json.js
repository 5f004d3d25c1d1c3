/** Indented JSON for people: what is short and plain stays on one line. */
export function pretty(value, indent = "") {
  const flat = JSON.stringify(value);
  if (typeof value !== "object" || value === null || flat.length + indent.length <= 72) return spaced(value, flat);
  const deeper = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.every((each) => typeof each === "number")) return wrapped(value, indent);
    return `[\n${value.map((each) => deeper + pretty(each, deeper)).join(",\n")}\n${indent}]`;
  }
  const entries = Object.entries(value).map(([key, each]) => `${deeper}${JSON.stringify(key)}: ${pretty(each, deeper)}`);
  return `{\n${entries.join(",\n")}\n${indent}}`;
}

function spaced(value, flat) {
  if (typeof value !== "object" || value === null) return flat;
  if (Array.isArray(value)) return `[${value.map((each) => spaced(each, JSON.stringify(each))).join(", ")}]`;
  const entries = Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${spaced(each, JSON.stringify(each))}`);
  return entries.length ? `{${entries.join(", ")}}` : "{}";
}

function wrapped(numbers, indent) {
  const lines = [];
  let line = "";
  for (const [i, number] of numbers.entries()) {
    const word = number + (i < numbers.length - 1 ? "," : "");
    if (line && line.length + word.length + indent.length > 70) {
      lines.push(line);
      line = word;
    } else line += line ? ` ${word}` : word;
  }
  return `[\n${[...lines, line].map((each) => `${indent}  ${each}`).join("\n")}\n${indent}]`;
}
