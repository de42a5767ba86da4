// @ts-check
/**
 * Holds the one event stream of this browser for all tabs: a stream a tab would use up the six connections that a browser
 * opens to a server. Runs as a SharedWorker, or inside the page where there is none. Passes on what it hears and how the
 * link is; decides nothing.
 * @typedef {{kind: "state", state: "live" | "connecting" | "reconnecting" | "signed-out"} | {kind: "tick", version: number}
 *   | {kind: "changed", topics: string[], version: number}} Heard
 */

const RETRY_MS = 3000; // like the server's `retry:`, for the refusals after which a browser does not try again
const RETRY_MS_MAX = 30_000;

/**
 * @param {(heard: Heard) => void} tell
 * @returns {() => void} call it to look again at once, for example after signing in
 */
export function listen(tell) {
  let failures = 0;
  let timer = 0;
  /** @type {EventSource | undefined} */
  let source;

  async function lookWhy() {
    // An EventSource does not say why it was refused.
    const stop = new AbortController();
    const status = await fetch("/events", { signal: stop.signal }).then((answer) => answer.status, () => 0);
    stop.abort();
    if (status === 401) return tell({ kind: "state", state: "signed-out" });
    failures += 1;
    clearTimeout(timer);
    timer = setTimeout(open, Math.min(RETRY_MS * failures, RETRY_MS_MAX));
  }

  function open() {
    source?.close();
    const stream = (source = new EventSource("/events"));
    stream.onopen = () => {
      failures = 0;
      tell({ kind: "state", state: "live" });
    };
    stream.onerror = () => {
      tell({ kind: "state", state: "reconnecting" });
      if (stream.readyState === EventSource.CLOSED) void lookWhy();
    };
    stream.addEventListener("tick", (event) => tell({ kind: "tick", ...JSON.parse(event.data) }));
    stream.addEventListener("changed", (event) => tell({ kind: "changed", ...JSON.parse(event.data) }));
    stream.addEventListener("bye", () => {
      stream.close();
      tell({ kind: "state", state: "signed-out" });
    });
  }

  open();
  return open;
}

if ("SharedWorkerGlobalScope" in globalThis) {
  /** @type {Set<MessagePort>} */
  const ports = new Set();
  /** @type {Heard} */
  let state = { kind: "state", state: "connecting" };
  let version = 0;
  const again = listen((heard) => {
    if (heard.kind === "state") state = heard;
    else version = heard.version;
    for (const port of ports) port.postMessage(heard);
  });
  globalThis.addEventListener("connect", (event) => {
    const port = /** @type {MessageEvent} */ (event).ports[0];
    if (!port) return;
    ports.add(port);
    port.onmessage = (message) => message.data === "bye" && ports.delete(port);
    if (state.kind === "state" && state.state === "signed-out") again();
    else for (const heard of [state, { kind: "tick", version }]) port.postMessage(heard);
  });
}
