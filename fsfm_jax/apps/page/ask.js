// A question to the server with a file: it tells how far it is, and can be given up.
const PERIOD = 400; // milliseconds between two looks at the progress

export function ask(path, file, { query = {}, told = () => {}, signal } = {}) {
  const job = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let timer = 0;
    const look = async () => {
      try {
        told(await (await fetch(`api/progress?job=${job}`)).json());
      } catch { /* the answer will say what is wrong */ }
      if (timer) timer = setTimeout(look, PERIOD);
    };
    const end = (settle, value) => {
      clearTimeout(timer);
      timer = 0;
      settle(value);
    };
    request.open("POST", `${path}?${new URLSearchParams({ ...query, job })}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) =>
      told({ stage: "upload", done: event.loaded, of: event.total }));
    request.upload.addEventListener("load", () => {
      told({ stage: "wait", done: 0, of: 0 });
      timer = setTimeout(look, PERIOD);
    });
    request.addEventListener("load", () => {
      const json = (request.getResponseHeader("content-type") || "").startsWith("application/json");
      const found = json ? JSON.parse(request.responseText)
        : { error: request.responseText || `The server gave no answer (${request.status}).` };
      if (found.error) end(reject, new Error(found.error));
      else end(resolve, found);
    });
    request.addEventListener("error", () =>
      end(reject, new Error("The server cannot be reached, or took no more of the file.")));
    request.addEventListener("abort", () => end(reject, new DOMException("given up", "AbortError")));
    signal?.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

export function describe({ stage, done, of }) {
  const share = of ? ` ${Math.round((100 * done) / of)} %` : "";
  if (stage === "upload") return `Sending${share}`;
  if (stage === "read") return of ? `Looking for faces: frame ${done + 1} of ${of}` : "Looking for faces";
  if (stage === "score") return of > 1 ? `Judging ${of} faces:${share}` : "Judging the face";
  return stage === "explain" ? "Drawing heat maps" : "Looking at it";
}
