// Ask the service: the newest question of a kind counts, and integer ids of any size stay exact.

// Integers above 2**53 become BigInt, where the browser shows the source of a number.
const exact = (key, value, context) =>
  typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source)
    ? BigInt(context.source) : value;
const plain = (key, value) => (typeof value === "bigint" ? JSON.rawJSON(`${value}`) : value);
export const parse = (text) => JSON.parse(text, exact);
export const write = (value) => JSON.stringify(value, plain);

export const isStale = (error) => error.name === "AbortError";
export const drop = (kind) => asked.get(kind)?.abort();
const asked = new Map(); // kind of question -> AbortController of the newest

/** Answer a GET, or a POST if there is a body; an earlier question of the same kind is dropped. */
export async function ask(path, { body, kind = path } = {}) {
  drop(kind);
  const { signal } = asked.set(kind, new AbortController()).get(kind);
  for (;;) {
    const token = sessionStorage.getItem("token");
    const headers = { ...(body && { "Content-Type": "application/json" }),
                      ...(token && { Authorization: `Bearer ${token}` }) };
    const posted = body && { method: "POST", body: write(body) };
    const response = await fetch(path, { ...posted, headers, signal }).catch((error) => {
      throw isStale(error) ? error : Error("The service does not answer. Is it still running?");
    });
    const text = await response.text();
    if (response.ok) return parse(text);
    if (response.status !== 401) throw Error(problem(response, text));
    if (sessionStorage.getItem("token") === token) await askForToken(token);
  }
}

function problem(response, text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return `The service answered ${response.status} ${response.statusText}`;
  }
}

let waiting; // one dialog for all questions that wait for the token

function askForToken(refused) {
  waiting ??= new Promise((resolve, reject) => {
    const dialog = document.getElementById("token");
    const field = dialog.querySelector("input");
    if (refused) document.getElementById("token-note").textContent = "That token was refused.";
    field.value = "";
    dialog.querySelector("form").onsubmit = () => sessionStorage.setItem("token", field.value);
    dialog.onclose = () => {
      waiting = undefined;
      if (field.value) resolve();
      else reject(Error("The service wants a token."));
    };
    dialog.showModal();
  });
  return waiting;
}
