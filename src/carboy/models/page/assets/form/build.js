// From a schema to its field: the table of kinds.

import { describe, words } from "../schema.js";
import { eitherField } from "./either.js";
import { fileField } from "./file.js";
import { jsonField } from "./json.js";
import { linesField } from "./lines.js";
import { numbersField } from "./numbers.js";
import { pictureField } from "./picture.js";
import { recordField } from "./record.js";
import { choiceField, numberField, switchField, textField } from "./scalars.js";
import { tableField } from "./table.js";
import { tensorField } from "./tensor.js";

const FIELDS = {
  boolean: switchField,
  bytes: fileField,
  choice: choiceField,
  either: (spec) => eitherField(spec, buildField),
  image: pictureField,
  integer: numberField,
  lines: linesField,
  number: numberField,
  numbers: numbersField,
  record: (spec) => recordField(spec, buildField),
  table: tableField,
  tensor: tensorField,
  text: textField,
};
const WORDLESS = new Set(["choice", "boolean", "record", "either"]);

/** Args of `spec`: label, path, required, nested, fallback (what stands there at first). */
export function buildField(raw, spec) {
  const about = describe(raw, spec.defs);
  const full = {
    ...about,
    ...spec,
    schema: about.schema,
    defs: about.defs,
    nullable: about.nullable || Boolean(spec.nullable), // of the union, for one of its ways
    description: spec.description ?? (about.schema.description),
    hint: "hint" in spec ? spec.hint : hint(raw, about, spec),
  };
  // A record in a record in a record is written as JSON: three frames are no help to anybody.
  const deep = about.kind === "record" && (spec.path.match(/\./g)?.length ?? 0) > 3;
  const field = (deep ? jsonField : FIELDS[about.kind] ?? jsonField)(full);
  const first = spec.fallback ?? (spec.required ? about.schema.examples?.[0] : undefined);
  if (first !== undefined && first !== null) field.fill(first);
  return field;
}

function hint(raw, { kind, nullable }, spec) {
  const filled = spec.fallback !== undefined && spec.fallback !== null;
  const optional = (nullable || !spec.required) && !filled ? "optional" : "";
  const type = WORDLESS.has(kind) ? "" : words(raw, spec.defs).replace(/, optional$/, "");
  return [type, optional].filter(Boolean).join(", ") || undefined;
}
