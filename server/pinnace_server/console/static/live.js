// @ts-check
/**
 * Keeps what is shown up to date: when the server names a topic that an element shows (`data-live`), the page's fragment is
 * fetched again and those elements are changed in place. At most once a second, with jitter, only while visible. The
 * stream carries names, never data: each fetch is authorised by itself. Owns the chip in the header.
 */
import { listen } from "./live-worker.js";
import { morph } from "./morph.js";
import { fetchFragment } from "./swap.js";

const REFRESH_MS = 1000;
const JITTER_MS = 300; // a room full of consoles must not ask in step
const STALE_MS = 10_000; // two ticks of the server missed

let state = "connecting";
let heardAt = Date.now();
let version = 0;
let refreshedAt = 0;
let timer = 0;
let busy = false;
/** @type {Set<string>} */
const stale = new Set();

/** Draw the chip: a shape, a word, and the age of the data when they may be old. */
function draw() {
  const chip = document.getElementById("live");
  const word = chip?.querySelector(".word");
  if (!(chip instanceof HTMLAnchorElement) || !word) return;
  const late = Date.now() - heardAt > STALE_MS;
  const shown = late && state !== "signed-out" ? "reconnecting" : state;
  const since = new Date(heardAt).toTimeString().slice(0, 8);
  const words = { live: "Live", connecting: "Connecting", reconnecting: `Reconnecting (data as of ${since})`, "signed-out": "Signed out" };
  const text = words[/** @type {keyof words} */ (shown)];
  document.body.classList.toggle("stale", late || shown === "signed-out");
  if (chip.dataset.state !== shown) chip.dataset.state = shown;
  if (word.textContent !== text) word.textContent = text;
  const shape = { live: "dot", connecting: "turn", reconnecting: "turn", "signed-out": "square" }[shown] ?? "ring";
  chip.querySelector("use")?.setAttribute("href", `#shape-${shape}`);
  chip.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
}

/** @param {import("./live-worker.js").Heard} heard */
function hear(heard) {
  if (heard.kind === "state") {
    state = heard.state;
  } else {
    // A page older than what the server has told by now missed something: while it loaded, or while the link was down.
    if (heard.kind === "changed") mark(heard.topics);
    else if (heard.version > version) mark(["*"]);
    version = Math.max(version, heard.version);
  }
  if (state === "live") heardAt = Date.now();
  draw();
}

/** @param {string[]} topics */
function mark(topics) {
  for (const topic of topics) stale.add(topic);
  plan();
}

/** @param {Element} element */
const isStale = (element) =>
  stale.has("*") || (element.getAttribute("data-live") ?? "").split(" ").some((topic) => stale.has(topic));

const staleIds = () => [...document.querySelectorAll("[data-live]")].filter(isStale).map((element) => element.id);

function plan() {
  if (timer || busy || document.hidden || !stale.size) return;
  const rest = Math.max(0, refreshedAt + REFRESH_MS - Date.now());
  timer = setTimeout(refresh, rest + Math.random() * JITTER_MS);
}

async function refresh() {
  const ids = staleIds();
  const address = location.href;
  timer = 0;
  stale.clear();
  if (!ids.length) return;
  busy = true;
  try {
    const { response, fragment } = await fetchFragment(address, { live: true });
    if (!response.ok || address !== location.href) return;
    for (const id of ids) {
      const [from, to] = [document.getElementById(id), fragment.getElementById(id)];
      if (from && to) morph(from, to, true);
    }
    document.dispatchEvent(new CustomEvent("refreshed"));
  } catch {
    // the chip already says that the server is away, or that we are signed out
  } finally {
    refreshedAt = Date.now();
    busy = false;
    plan();
  }
}

/** @param {Event} event tells how many rows would come, go or move */
function announce(event) {
  const notice = event.target instanceof Element ? event.target.closest("[data-live]")?.querySelector("[data-changes]") : null;
  if (!(notice instanceof HTMLElement && event instanceof CustomEvent)) return;
  notice.hidden = !event.detail;
  const count = notice.querySelector("b");
  if (count) count.textContent = event.detail === 1 ? "1 change" : `${event.detail} changes`;
}

export function startLive() {
  version = Number(document.querySelector("[data-version]")?.getAttribute("data-version"));
  if (globalThis.SharedWorker) {
    const worker = new SharedWorker(new URL("./live-worker.js", import.meta.url), { type: "module", name: "pinnace" });
    worker.port.onmessage = (message) => hear(message.data);
    addEventListener("pagehide", () => worker.port.postMessage("bye"));
    addEventListener("pageshow", (event) => event.persisted && location.reload());
  } else {
    listen(hear);
  }
  document.addEventListener("changes", announce);
  document.addEventListener("signed-out", () => hear({ kind: "state", state: "signed-out" }));
  document.addEventListener("visibilitychange", plan);
  setInterval(draw, 1000);
}
