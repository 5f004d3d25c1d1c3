import { javascript as literal } from "./quote.js";

export function javascript(url, plan, { accept, keyed, stream, file }) {
  const headers = [...(plan.kind === "json" ? ['"Content-Type": "application/json"'] : []), ...(accept ? [`Accept: ${literal(accept)}`] : []), ...(keyed ? ["Authorization: `Bearer ${process.env.API_KEY}`"] : [])];
  const before = [];
  let body;
  if (plan.kind === "json") {
    // A number literal has 53 bits in JavaScript: JSON with larger whole numbers is a text.
    const inline = hasLarge(plan.value) ? literal(JSON.stringify(plan.value)) : `JSON.stringify(${literal(plan.value, "  ")})`;
    body = file ? `JSON.stringify(input) // what ${file} holds` : inline;
  } else {
    before.push("const body = new FormData();");
    for (const { name, upload, text } of plan.parts) {
      before.push(upload ? `body.append(${literal(name)}, file, ${literal(upload.name)}); // file: a File or Blob` : `body.append(${literal(name)}, ${literal(text)});`);
    }
    before.push("");
    body = "body";
  }
  return [
    ...before,
    `const response = await fetch(${literal(url)}, {`,
    '  method: "POST",',
    ...(headers.length ? [`  headers: { ${headers.join(", ")} },`] : []),
    body === "body" ? "  body," : `  body: ${body.replace(/( \/\/ .*)?$/, ",$1")}`,
    "});",
    "if (!response.ok) throw new Error(await response.text());",
    ...ending(accept, stream),
  ].join("\n");
}

function hasLarge(value) {
  if (typeof value !== "object" || value === null) return typeof value === "bigint";
  return Object.values(value).some(hasLarge);
}

function ending(accept, stream) {
  if (stream) {
    return ["for await (const text of response.body.pipeThrough(new TextDecoderStream())) {", "  console.log(text);", "}"];
  }
  if (accept?.startsWith("image/")) return ["const picture = await response.blob();", "console.log(picture.type, picture.size);"];
  return ["console.log(await response.json());"];
}
