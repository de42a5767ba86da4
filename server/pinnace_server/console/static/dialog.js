// @ts-check
/**
 * Shows a confirm page in a dialog. Links with `data-dialog` lead to pages of their own, which work alone too; here the
 * same page opens over the current one, with Cancel focused first, and focus returns to where it was.
 */
import { addressOf, fetchFragment, show } from "./swap.js";

/** @type {HTMLElement | null} */
let opener = null;

/** @returns {HTMLDialogElement} */
function theDialog() {
  const found = document.querySelector("dialog");
  if (found) return found;
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "confirm-title");
  dialog.addEventListener("close", () => {
    dialog.replaceChildren();
    if (opener?.isConnected) opener.focus();
  });
  document.body.append(dialog);
  return dialog;
}

/** @param {string} address @param {RequestInit} [options] */
async function fill(address, options) {
  const { response, fragment } = await fetchFragment(address, options);
  const dialog = theDialog();
  if (options && response.redirected) {
    // Done: the server led to the page that shows the outcome.
    dialog.close();
    if (response.url !== location.href) history.pushState({}, "", response.url);
    return show(response, fragment);
  }
  const within = dialog.contains(document.activeElement) ? document.activeElement?.getAttribute("name") : null;
  dialog.replaceChildren(fragment);
  if (!dialog.open) dialog.showModal();
  const first = dialog.querySelector(within ? `[name="${CSS.escape(within)}"]` : "[data-cancel]");
  if (first instanceof HTMLElement) first.focus();
}

/** @param {HTMLFormElement} form @param {HTMLElement | null} submitter */
async function send(form, submitter) {
  const result = form.querySelector("[role=status]");
  const body = new URLSearchParams(/** @type {any} */ (new FormData(form, submitter)));
  for (const button of form.querySelectorAll("button")) button.disabled = true;
  if (result) result.textContent = "Sending…";
  try {
    await fill(form.action, { method: "POST", body });
  } catch (failure) {
    if (result) result.textContent = `Not sent: ${failure instanceof Error ? failure.message : failure}`;
    for (const button of form.querySelectorAll("button")) button.disabled = false;
  }
}

export function startDialogs() {
  document.addEventListener("input", (event) => {
    // The count shown is that of the selection before: it has to be counted again first.
    const counted = event.target instanceof Element && event.target.matches("dialog form[method=get] [name]");
    if (counted) for (const button of theDialog().querySelectorAll("form[method=post] button:not([data-cancel])")) button.setAttribute("disabled", "");
  });
  // Before swap.js, which takes every link and form that nobody else wanted.
  const options = { capture: true };
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const link = target?.closest("a[data-dialog]");
    if (link instanceof HTMLAnchorElement && !(event.metaKey || event.ctrlKey || event.shiftKey)) {
      event.preventDefault();
      opener = link;
      fill(link.href).catch(() => location.assign(link.href));
    } else if (target?.closest("dialog [data-cancel]")) {
      event.preventDefault();
      theDialog().close();
    }
  }, options);
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement && form.closest("dialog"))) return;
    event.preventDefault();
    if (form.method === "get") void fill(addressOf(form));
    else void send(form, event.submitter);
  }, options);
}
