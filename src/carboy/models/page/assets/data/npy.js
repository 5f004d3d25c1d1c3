// NumPy's files: a head that says type and shape, then the values.
// Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

/** {dtype, shape} of a file's first bytes, or null. */
export function readHead(bytes) {
  const long = bytes[6] >= 2;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = long ? view.getUint32(8, true) : view.getUint16(8, true);
  const start = long ? 12 : 10;
  const head = new TextDecoder("latin1").decode(bytes.subarray(start, start + length));
  const descr = /'descr':\s*'([^']*)'/.exec(head)?.[1];
  const shape = /'shape':\s*\(([^)]*)\)/.exec(head)?.[1];
  if (!descr || shape === undefined) return null;
  return { dtype: dtypeWords(descr), shape: shape.split(",").filter((side) => side.trim()).map(Number) };
}

function dtypeWords(descr) {
  const kinds = { f: "float", i: "int", u: "uint", b: "bool", c: "complex" };
  const [kind, size] = [descr.replace(/^[<>|=]/, "").charAt(0), Number(descr.replace(/^[<>|=]?\w/, ""))];
  return kind === "b" ? "bool" : kinds[kind] ? `${kinds[kind]}${size * 8}` : descr;
}

// The values of a type in a file: its name there, the array that holds them, and what makes one of a number.
const TYPES = {
  float16: ["<f2", Uint16Array, halfBits],
  float32: ["<f4", Float32Array], float64: ["<f8", Float64Array],
  int8: ["|i1", Int8Array], uint8: ["|u1", Uint8Array], bool: ["|b1", Uint8Array],
  int16: ["<i2", Int16Array], uint16: ["<u2", Uint16Array],
  int32: ["<i4", Int32Array], uint32: ["<u4", Uint32Array],
  int64: ["<i8", BigInt64Array, BigInt], uint64: ["<u8", BigUint64Array, BigInt],
};

/** The bits of a number of half precision, from 0 to 65504; browsers before 2025 have no Float16Array. */
function halfBits(number) {
  const [bits] = new Uint32Array(Float32Array.of(number).buffer);
  const exponent = Math.max((bits >> 23) - 127, -14);
  return ((exponent + 14) << 10) + Math.round(number * 2 ** (10 - exponent));
}

/** A file of so many values, each what `make()` gives. */
export function write(dtype, shape, make) {
  const [descr, Kind, convert = Number] = TYPES[dtype];
  const values = new Kind(shape.reduce((all, side) => all * side, 1));
  for (let i = 0; i < values.length; i += 1) values[i] = convert(make());
  const head = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.map((side) => `${side},`).join(" ")}), }`;
  const padded = head.padEnd(Math.ceil((head.length + 11) / 64) * 64 - 11) + "\n";
  const start = new Uint8Array([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, padded.length & 255, padded.length >> 8]);
  return new Blob([start, padded, values], { type: "application/x-npy" });
}
