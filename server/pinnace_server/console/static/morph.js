// @ts-check
/**
 * Changes an element into another one in place, so that focus, selection, open menus and canvases survive a refresh.
 * Children are matched by `data-key` or `id`, else by place. Knows nothing of fetching or of what the page means.
 */

/** @param {Node} node @returns {string | null} */
const keyOf = (node) => (node instanceof Element ? node.getAttribute("data-key") || node.id || null : null);

/** @param {Element} from @param {Element} to */
function copyAttributes(from, to) {
  for (const { name } of [...from.attributes]) {
    // What the reader opened stays open.
    if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
}

/**
 * @param {Node} from a node of the page
 * @param {Node} to what it should look like; is used up
 * @param {boolean} [steady] keep the rows of `data-steady` in their places: the reader asked for nothing
 */
export function morph(from, to, steady = false) {
  if (!(from instanceof Element && to instanceof Element)) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  copyAttributes(from, to);
  if (from.hasAttribute("data-keep")) return;
  if (steady && from.hasAttribute("data-steady")) morphSteadily(from, to);
  else morphChildren(from, to, steady);
}

/** @param {Element} from @param {Element} to @param {boolean} steady */
function morphChildren(from, to, steady) {
  const keyed = new Map([...from.children].filter(keyOf).map((child) => [keyOf(child), child]));
  let place = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const key = keyOf(wanted);
    const found = key ? keyed.get(key) : place && !keyOf(place) ? place : null;
    if (found && found.nodeName === wanted.nodeName) {
      if (found === place) place = place.nextSibling;
      else from.insertBefore(found, place);
      morph(found, wanted, steady);
    } else {
      from.insertBefore(wanted, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

/**
 * Rows that are being read change their cells but never their order, and none comes or goes by itself; how many would
 * have is announced in a `changes` event.
 * @param {Element} from @param {Element} to
 */
function morphSteadily(from, to) {
  const rows = [...from.children];
  const wanted = new Map([...to.children].map((row) => [keyOf(row), row]));
  const known = new Set(rows.map(keyOf));
  const fresh = [...wanted.keys()].filter((key) => !known.has(key)).length;
  const lost = [...known].filter((key) => !wanted.has(key)).length;
  const moved = rows.filter((row, place) => keyOf(row) !== keyOf(to.children[place] ?? from)).length;
  for (const row of rows) {
    const next = wanted.get(keyOf(row));
    if (next) morph(row, next, true);
    row.classList.toggle("gone", !next);
  }
  from.dispatchEvent(new CustomEvent("changes", { bubbles: true, detail: Math.max(fresh, lost) || moved }));
}
