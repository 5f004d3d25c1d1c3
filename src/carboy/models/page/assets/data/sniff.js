// What a file is, by its first bytes: the name and the type it came with are claims.

const SIGNATURES = [
  ["image/png", [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]],
  ["image/jpeg", [0xff, 0xd8, 0xff]],
  ["image/gif", [0x47, 0x49, 0x46, 0x38]],
  ["image/bmp", [0x42, 0x4d]],
];
const ascii = (bytes, from, to) => String.fromCharCode(...bytes.subarray(from, to));

/** The type of a picture that any browser draws as nothing but a picture; SVG is none. */
export function pictureType(bytes) {
  const found = SIGNATURES.find(([, signature]) => signature.every((byte, i) => bytes[i] === byte));
  if (found) return found[0];
  return ascii(bytes, 0, 4) === "RIFF" && ascii(bytes, 8, 12) === "WEBP" ? "image/webp" : null;
}

export const headOf = async (blob, length = 16) => new Uint8Array(await blob.slice(0, length).arrayBuffer());

/** The same bytes under the type that they have; null where they are no picture. */
export async function asPicture(blob) {
  const type = pictureType(await headOf(blob));
  return type && new Blob([blob], { type });
}

export const isNpy = (bytes) => bytes[0] === 0x93 && ascii(bytes, 1, 6) === "NUMPY";
export const isParquet = (bytes) => ascii(bytes, 0, 4) === "PAR1";

export function sizeWords(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(bytes < 1e4 ? 1 : 0)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
