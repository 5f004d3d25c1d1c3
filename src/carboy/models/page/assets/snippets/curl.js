import { pretty } from "../data/json.js";
import { shell } from "./quote.js";

/** `file`: the name under which a large JSON was saved, or undefined. `keyed`: an API key is needed. */
export function curl(url, plan, { accept, keyed, stream, file }) {
  const lines = [`curl ${stream ? "-N " : ""}${shell(url)}`];
  if (accept) lines.push(`-H ${shell(`Accept: ${accept}`)}`);
  if (keyed) lines.push('-H "Authorization: Bearer $API_KEY"');
  if (plan.kind === "json") {
    lines.push("-H 'Content-Type: application/json'");
    lines.push(file ? `--data-binary @${file}` : `--data-raw ${shell(pretty(plan.value))}`);
  } else {
    for (const { name, upload, text } of plan.parts) {
      lines.push(upload ? `-F ${shell(`${formName(name)}=@${fileName(upload.name)}`)}` : `--form-string ${shell(`${formName(name)}=${text}`)}`);
    }
  }
  if (accept?.startsWith("image/")) lines.push("-o answer.png");
  return lines.join(" \\\n  ");
}

const formName = (name) => name;
// In a form, commas and semicolons part files and their types; a quoted name may hold them.
const fileName = (name) => (/[",;\\]/.test(name) ? `"${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"` : name);
