import { python as literal } from "./quote.js";

export function python(url, plan, { accept, keyed, stream, file }) {
  const headers = [...(accept ? [`"Accept": ${literal(accept)}`] : []), ...(keyed ? [`"Authorization": f"Bearer {os.environ['API_KEY']}"`] : [])];
  const more = [...(headers.length ? [`headers={${headers.join(", ")}}`] : []), ...(stream ? ["stream=True"] : [])];
  const top = keyed ? ["import os", ""] : [];
  let body;
  if (plan.kind === "json" && file) {
    top.unshift("import json", ...(keyed ? [] : [""]));
    body = [`json=json.load(open(${literal(file)}, encoding="utf-8"))`];
  } else if (plan.kind === "json") {
    body = [`json=${literal(plan.value, "    ")}`];
  } else {
    const files = plan.parts.filter(({ upload }) => upload).map(({ name, upload }) => `${literal(name)}: open(${literal(upload.name)}, "rb")`);
    const fields = plan.parts.filter(({ upload }) => !upload).map(({ name, text }) => `${literal(name)}: ${literal(text)}`);
    body = [`files={${files.join(", ")}}`, ...(fields.length ? [`data={${fields.join(", ")}}`] : [])];
  }
  return [
    ...top,
    "import requests",
    "",
    "answer = requests.post(",
    ...[literal(url), ...body, ...more].map((argument) => `    ${argument},`),
    ")",
    "answer.raise_for_status()",
    ...ending(accept, stream),
  ].join("\n");
}

function ending(accept, stream) {
  if (stream) return ["for line in answer.iter_lines(decode_unicode=True):", '    if line.startswith("data:"):', "        print(line[5:].strip())"];
  if (accept?.startsWith("image/")) return ['open("answer.png", "wb").write(answer.content)'];
  return ["print(answer.json())"];
}
