// What went wrong, in words a person can use. Source of the format: RFC 9457.

/** {title, detail, errors: [{path, message}]} of an answer that is none. */
export async function problemOf(response) {
  let found = {};
  try {
    found = await response.json();
  } catch { /* a proxy's page, or nothing at all */ }
  if (typeof found !== "object" || found === null) found = {};
  return wordsFor(found, response.status, response.headers.get("Retry-After"));
}

export function wordsFor(found, status = found.status, retryAfter = null) {
  const list = Array.isArray(found.errors) ? found.errors : [];
  const errors = list.filter((each) => typeof each?.path === "string").map(({ path, expected, got }) => ({ path, message: sentence(expected, got) }));
  const wait = retryAfter && /^\d+$/.test(retryAfter) ? ` Try again in ${retryAfter} s.` : "";
  const id = found.request_id ? ` Request id: ${found.request_id}` : "";
  return {
    title: KEYS[found.code] ?? TITLES[status] ?? found.title ?? `The server answered with ${status}.`,
    detail: `${found.detail ?? found.title ?? ""}${wait}${id}`.trim(),
    status,
    errors,
  };
}

const TITLES = {
  400: "The input could not be read.",
  401: "You have to log in first.",
  403: "You may not use this model.",
  404: "There is no model at this address any more.",
  413: "The input is too large.",
  415: "The model does not take this kind of input.",
  422: "The input does not fit.",
  429: "Too many requests.",
  500: "The model failed on this input.",
  502: "The server behind the proxy does not answer.",
  503: "The model is busy.",
  504: "The model took too long.",
};

// By the member `code`.
const KEYS = {
  "key-missing": "This model needs an API key now. Reload the page to enter it.",
  "key-invalid": "The API key is no longer valid. Reload the page to enter another one.",
};

function sentence(expected, got) {
  if (!expected) return got ? `Got ${got}.` : "This does not fit.";
  return `Expected ${expected}${got ? `, got ${got}` : ""}.`.replaceAll("`", "");
}
