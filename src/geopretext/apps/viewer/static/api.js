/** Requests to the server, and the clear errors that it answers with. */

export class ViewerError extends Error {
  constructor({ what, where = "", hint = "" }) {
    super(what);
    Object.assign(this, { what, where, hint });
  }
}

/** Of a request that got no answer at all. */
export function silent() {
  return new ViewerError({
    what: "The viewer's server does not answer.",
    hint: "Is it still running in its terminal? Start it again with the same words, then reload this page.",
  });
}

async function ask(path, { signal } = {}) {
  let response;
  try {
    response = await fetch(`/api/${path}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw silent();
  }
  if (!response.ok) {
    const told = await response.json().catch(() => ({ what: `the server answered ${response.status}`, where: path }));
    throw new ViewerError(told);
  }
  return response;
}

/** JSON at `path`, which is relative to /api/. */
export async function api(path, options) {
  return (await ask(path, options)).json();
}

/** Bytes at `path`, for typed arrays. */
export async function bytes(path, options) {
  return (await ask(path, options)).arrayBuffer();
}

/** Ask again until a job that the server does in the background is done; `onProgress` is told {done, total, what}. */
export async function job(path, { signal, onProgress = () => {} } = {}) {
  for (let wait = 150; ; wait = Math.min(1000, wait * 1.4)) {
    const state = await api(path, { signal });
    if (state.state === "done") return state;
    if (state.state === "failed") throw new ViewerError(state.error);
    onProgress(state);
    await new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, wait);
      signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
    });
  }
}
