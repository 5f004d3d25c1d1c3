// What a JSON Schema asks a form for. Schemas come from the types of `predict`; keywords that no
// type writes are not looked for.

const NUMERIC = new Set(["number", "integer"]);

/** Follow `$ref`. Each parameter brings its own `$defs`: the nearest counts. */
export function resolve(schema, defs = {}) {
  let here = schema ?? {};
  let known = here.$defs ? { ...defs, ...here.$defs } : defs;
  for (let hops = 0; here.$ref && hops < 32; hops += 1) {
    const { $ref, $defs, ...own } = here;
    const target = known[decodeURIComponent($ref.replace(/^#\/\$defs\//, "")).replaceAll("~1", "/").replaceAll("~0", "~")];
    here = { ...(target ?? {}), ...own };
    if (here.$defs) known = { ...known, ...here.$defs };
  }
  return { schema: here, defs: known };
}

const HINTED = ["tensor", "table"];

/** The kind of value that a schema belongs to: "image", "tensor", "table"; any other one is "bytes", a file. */
export function kindOf(schema) {
  const hinted = HINTED.find((name) => `x-${name}` in schema);
  if (hinted) return hinted;
  if (String(schema.contentMediaType ?? "").startsWith("image/")) return "image";
  if (schema.format === "binary" || schema.contentEncoding === "base64") return "bytes";
  return undefined;
}

/**
 * What one value is.
 * kind: image, bytes, table, tensor, text, number, integer, boolean, choice, record, mapping,
 *   numbers, lines, either, json.
 * nullable: whether null is one of its values.
 */
export function describe(raw, outer = {}) {
  const { schema, defs } = resolve(raw, outer);
  const kind = kindOf(schema);
  if (kind) return { kind, schema, defs, nullable: false };
  const ways = waysOf(schema, defs);
  if (ways) {
    const values = ways.filter((way) => resolve(way, defs).schema.type !== "null");
    const nullable = values.length < ways.length;
    const { anyOf, oneOf, ...own } = schema;
    if (values.length === 1) {
      const only = describe(values[0], defs);
      return { ...only, schema: { ...only.schema, ...own }, nullable: nullable || only.nullable };
    }
    return { kind: "either", schema: own, ways: values, defs, nullable };
  }
  if (schema.enum || "const" in schema) {
    const all = schema.enum ?? [schema.const];
    return { kind: "choice", schema, defs, values: all.filter((each) => each !== null), nullable: all.includes(null) };
  }
  const types = [schema.type ?? []].flat();
  const named = types.filter((type) => type !== "null");
  return {
    kind: named.length === 1 ? plain(named[0], schema, defs) : "json",
    schema, defs,
    nullable: named.length < types.length || schema.type === "null",
  };
}

/** The members of a union; a union among them that says nothing else is a part of it. */
function waysOf(schema, defs) {
  return (schema.anyOf ?? schema.oneOf)?.flatMap((way) => {
    const { schema: inner } = resolve(way, defs);
    return inner.anyOf && Object.keys(inner).length === 1 ? waysOf(inner, defs) : [way];
  });
}

function plain(type, schema, defs) {
  if (type === "string") return "text";
  if (NUMERIC.has(type) || type === "boolean") return type;
  if (type === "object") {
    if (schema.properties) return "record";
    return isNumeric(schema.additionalProperties, defs) ? "mapping" : "json";
  }
  if (type === "array" && isNumeric(schema.items, defs)) return "numbers";
  if (type === "array" && isText(schema.items, defs)) return "lines";
  return "json";
}

function isNumeric(schema, defs) {
  return typeof schema === "object" && schema !== null && NUMERIC.has(resolve(schema, defs).schema.type);
}

const isText = (schema, defs) => typeof schema === "object" && schema !== null && describe(schema, defs).kind === "text";

/** The two ends of a bounded number, as an input can have them; null if one is open. */
export function bounds(schema) {
  const whole = schema.type === "integer";
  const low = schema.minimum ?? (whole && Number.isFinite(schema.exclusiveMinimum) ? schema.exclusiveMinimum + 1 : schema.exclusiveMinimum);
  const high = schema.maximum ?? (whole && Number.isFinite(schema.exclusiveMaximum) ? schema.exclusiveMaximum - 1 : schema.exclusiveMaximum);
  return Number.isFinite(low) && Number.isFinite(high) && low < high ? { low, high } : null;
}

/** A few words for a type: what stands beside a label. */
export function words(raw, outer = {}, depth = 0) {
  const { kind, schema, defs, ways, nullable } = describe(raw, outer);
  const base = schema.title && kind === "record" ? schema.title
    : kind === "either" ? ways.map((way) => words(way, defs, depth + 1)).join(" or ")
      : kind === "numbers" ? `${count(schema)}numbers`
      : kind === "lines" ? `${count(schema)}texts`
        : kind === "choice" ? "one of a few"
          : kind === "mapping" ? "names and numbers"
            : kind === "json" ? listWords(schema, defs, depth)
              : kind === "integer" ? "whole number"
                : kind === "boolean" ? "yes or no"
                  : kind === "tensor" ? tensorWords(schema) : kind;
  return nullable && depth === 0 ? `${base}, optional` : base;
}

function listWords(schema, defs, depth) {
  if (schema.type === "array" && schema.items && depth < 3) return `list of ${words(schema.items, defs, depth + 1)}`;
  return schema.type === "object" ? "object" : schema.type === "array" ? "list" : "JSON";
}

function count(schema) {
  const { minItems: least, maxItems: most } = schema;
  if (least !== undefined && least === most) return `${least} `;
  if (most !== undefined) return `up to ${most} `;
  return least ? `at least ${least} ` : "";
}

export function tensorWords(schema) {
  const { dtype, shape } = shapeOf(schema);
  return ["tensor", dtype, shape?.length ? shape.join(" × ") : ""].filter(Boolean).join(" ");
}

/** dtype and sides of a declared tensor; a side without a number is its name. */
export const shapeOf = (schema) => schema["x-tensor"] ?? {};

/** A value of the right form, to show how one is written. */
export function sample(raw, outer = {}, depth = 0) {
  const { kind, schema, defs, ways, values } = describe(raw, outer);
  const first = schema.default ?? schema.examples?.[0];
  if (first !== undefined) return first;
  if (kind === "choice") return values[0];
  if (kind === "either") return sample(ways[0], defs, depth + 1);
  if (kind === "record" && depth < 4) {
    return Object.fromEntries(Object.entries(schema.properties).map(([name, each]) => [name, sample(each, defs, depth + 1)]));
  }
  if (kind === "number" || kind === "integer") return schema.minimum ?? 0;
  if (kind === "boolean") return true;
  if (kind === "mapping") return { name: 0 };
  if (schema.type === "array") return depth < 4 && schema.items ? [sample(schema.items, defs, depth + 1)] : [];
  return schema.type === "object" ? {} : schema.type === "string" ? "text" : null;
}
