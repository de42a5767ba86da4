// @ts-check
/**
 * Moves between pages without reloading them: links and forms fetch the same address with `X-Partial: 1` and the answer
 * takes the place of #content. Each state keeps its address, Back works, and without this file everything still works.
 * Leaves refreshing to live.js and confirming to dialog.js.
 */
import { morph } from "./morph.js";

const content = () => /** @type {HTMLElement} */ (document.getElementById("content"));

/** @type {AbortController | null} */
let inFlight = null;

/** @param {string} text HTML made by the server */
function parse(text) {
  const template = document.createElement("template");
  template.innerHTML = text;
  return template.content;
}

/**
 * Fetch a fragment. When signed out, a refresh is refused with an error and anything else goes to the login page.
 * @param {string} address @param {RequestInit & {live?: boolean}} [options]
 * @returns {Promise<{response: Response, fragment: DocumentFragment}>}
 */
export async function fetchFragment(address, { live = false, ...options } = {}) {
  const response = await fetch(address, { ...options, headers: { "X-Partial": "1", ...(live && { "X-Live": "1" }) } });
  if (response.status === 401) {
    document.dispatchEvent(new CustomEvent("signed-out"));
    if (live) throw new Error("signed out");
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
    return new Promise(() => {});
  }
  return { response, fragment: parse(await response.text()) };
}

/** @param {string} address @param {unknown} reason */
function showFailure(address, reason) {
  document.querySelector(".failure")?.remove();
  const note = document.createElement("div");
  note.className = "note bad failure";
  note.setAttribute("role", "alert");
  const text = document.createElement("div");
  text.textContent = `${new URL(address, location.href).pathname} did not load (${reason}). What is shown here is as it was.`;
  const retry = document.createElement("button");
  retry.className = "button";
  retry.textContent = "Retry";
  retry.addEventListener("click", () => void visit(address));
  note.append(text, retry);
  content().prepend(note);
}

/**
 * Put a fetched page in place of the one shown.
 * @param {Response} response @param {DocumentFragment} fragment
 */
export function show(response, fragment) {
  const facts = fragment.querySelector("[data-title]");
  // A newer server: its pages and this script may not understand each other.
  if (facts?.getAttribute("data-build") !== content().querySelector("[data-build]")?.getAttribute("data-build")) return location.assign(response.url);
  const page = facts?.getAttribute("data-nav");
  document.title = facts?.getAttribute("data-title") ?? document.title;
  for (const link of document.querySelectorAll(".nav a")) {
    if (link.getAttribute("data-nav") === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const main = content();
  const path = new URL(response.url).pathname;
  if (main.dataset.path === path) {
    // Another filter or page of the same list: the reader's place, focus and half-typed words stay.
    document.querySelector(".failure")?.remove();
    const next = /** @type {HTMLElement} */ (main.cloneNode(false));
    next.append(fragment);
    morph(main, next);
  } else {
    main.replaceChildren(fragment);
    main.dataset.path = path;
  }
  document.dispatchEvent(new CustomEvent("swapped"));
}

/**
 * Go to an address of this console.
 * @param {string} address @param {{push?: boolean, top?: number | null}} [options] `top`: where to scroll to, null: nowhere
 */
export async function visit(address, { push = true, top = 0 } = {}) {
  inFlight?.abort();
  const turn = (inFlight = new AbortController());
  content().setAttribute("aria-busy", "true");
  try {
    const { response, fragment } = await fetchFragment(address, { signal: turn.signal });
    if (push && response.url !== location.href) history.pushState({}, "", response.url);
    show(response, fragment);
    if (top === null) return;
    content().focus({ preventScroll: true });
    scrollTo(0, top);
  } catch (failure) {
    if (!turn.signal.aborted) showFailure(address, failure instanceof Error ? failure.message : failure);
  } finally {
    if (inFlight === turn) content().setAttribute("aria-busy", "false");
  }
}

/** @param {HTMLAnchorElement} link @param {MouseEvent} event */
const isOurs = (link, event) =>
  event.button === 0 && !(event.defaultPrevented || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) &&
  link.origin === location.origin && !link.target && !link.hasAttribute("download") && !link.hasAttribute("data-whole");

/** @param {HTMLFormElement} form @returns {string} */
export function addressOf(form) {
  const address = new URL(form.action);
  const fields = new URLSearchParams(/** @type {any} */ (new FormData(form)));
  // An empty field is no filter: it does not belong in an address that people share.
  for (const [name, value] of [...fields]) if (!value) fields.delete(name, value);
  address.search = fields.toString();
  return address.href;
}

export function startSwapping() {
  content().dataset.path = location.pathname;
  history.scrollRestoration = "manual";
  addEventListener("scrollend", () => history.replaceState({ top: scrollY }, ""));
  addEventListener("popstate", (event) => void visit(location.href, { push: false, top: event.state?.top ?? 0 }));
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
    if (!(link instanceof HTMLAnchorElement && isOurs(link, event)) || link.getAttribute("href")?.startsWith("#")) return;
    event.preventDefault();
    void visit(link.href, link.hasAttribute("data-stay") ? { top: null } : {});
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || !(form instanceof HTMLFormElement) || form.method !== "get") return;
    event.preventDefault();
    void visit(addressOf(form), form.hasAttribute("data-stay") ? { top: null } : {});
  });
  document.addEventListener("change", (event) => {
    if (event.target instanceof HTMLSelectElement && event.target.form?.hasAttribute("data-auto")) event.target.form.requestSubmit();
  });
}
