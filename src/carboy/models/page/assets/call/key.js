// The API key, in the memory of this page: it is in no storage, no cookie and no URL.

let key = "";

export const useKey = (text) => { key = text; };

/** The header that a request needs; none if the model is open. */
export const keyHeaders = () => (key ? { Authorization: `Bearer ${key}` } : {});
