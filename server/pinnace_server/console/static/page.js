// @ts-check
/** Small conveniences of every page: relative times, the theme, copy buttons, the search key, menus that close. */

const zoneName = "pinnace-times";
const units = /** @type {const} */ ([["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]);

/** Same words as the server's, so that a page does not change by being refreshed. @param {number} seconds */
export function ago(seconds) {
  const size = Math.abs(seconds);
  if (size < 5) return "now";
  const [unit, length] = units.find(([, span]) => size >= span) ?? units[3];
  const count = `${Math.floor(size / length)} ${unit}`;
  return seconds < 0 ? `in ${count}` : `${count} ago`;
}

const isLocal = () => localStorage.getItem(zoneName) === "local";

/** @param {Date} at */
const absolute = (at) =>
  isLocal()
    ? `${at.toLocaleDateString("sv")} ${at.toLocaleTimeString("sv")} local time`
    : `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;

// This computer's clock may be wrong; the server's is what the times came from.
let behind = 0;

function setClock() {
  const now = document.querySelector("#content [data-now]")?.getAttribute("data-now");
  if (now) behind = new Date(now).getTime() - Date.now();
}

export function drawTimes() {
  for (const time of /** @type {NodeListOf<HTMLTimeElement>} */ (document.querySelectorAll("time[datetime]"))) {
    const at = new Date(time.dateTime);
    const whole = absolute(at);
    if (time.title !== whole) time.title = whole;
    const text = time.hasAttribute("data-absolute") ? whole : ago((Date.now() + behind - at.getTime()) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}

/** @param {string} value "" follows the system */
function setTheme(value) {
  // A cookie, not localStorage: the server writes the attribute, so that no page flashes in the other theme.
  document.cookie = `pinnace_theme=${value}; path=/; max-age=${value ? 31536000 : 0}; SameSite=Lax`;
  if (value) document.documentElement.dataset.theme = value;
  else delete document.documentElement.dataset.theme;
  document.dispatchEvent(new CustomEvent("themed"));
}

/** @param {HTMLElement} button */
async function copy(button) {
  const text = button.dataset.copy ?? "";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Plain HTTP on a LAN has no clipboard API: the old way needs a selected field.
    const field = document.createElement("textarea");
    field.value = text;
    (button.closest("dialog") ?? document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  const note = button.querySelector(".unseen");
  if (note) note.textContent = "Copied";
  button.title = "Copied";
}

/** @param {Event} event */
function press(event) {
  const target = event.target instanceof Element ? event.target.closest("[data-copy], [data-theme-to], [data-zone]") : null;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!(event.target instanceof Node && menu.contains(event.target))) menu.removeAttribute("open");
  }
  if (!(target instanceof HTMLElement)) return;
  if (target.dataset.copy !== undefined) return void copy(target);
  event.preventDefault();
  if (target.dataset.themeTo !== undefined) setTheme(target.dataset.themeTo);
  if (target.dataset.zone) localStorage.setItem(zoneName, target.dataset.zone);
  setClock();
  drawTimes();
  drawChoices();
}

function drawChoices() {
  const theme = document.documentElement.dataset.theme ?? "";
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-theme-to]"))) {
    button.setAttribute("aria-pressed", String(button.dataset.themeTo === theme));
  }
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-zone]"))) {
    button.setAttribute("aria-pressed", String((button.dataset.zone === "local") === isLocal()));
  }
}

/** @param {KeyboardEvent} event */
function key(event) {
  const typing = event.target instanceof Element && event.target.closest("input, select, textarea, dialog");
  const search = document.querySelector(".search input");
  if (event.key === "/" && !typing && search instanceof HTMLElement) {
    event.preventDefault();
    search.focus();
  }
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) menu.removeAttribute("open");
}

export function startPage() {
  document.documentElement.classList.add("scripted");
  document.addEventListener("click", press);
  document.addEventListener("keydown", key);
  document.addEventListener("swapped", setClock);
  for (const name of ["swapped", "refreshed"]) document.addEventListener(name, drawTimes);
  setInterval(() => document.hidden || drawTimes(), 5000);
  setClock();
  drawTimes();
  drawChoices();
}
