/**
 * Elements made from plain values. Text goes in as text, so nothing that a graph says can become markup.
 * @module
 */

/**
 * @param {string} tag  with classes: `button.quiet`
 * @param {Record<string, any>} [given]  attributes; `on…` are listeners; false and null are left out
 * @param {any[]} children  elements and texts, in lists or not; nothing is left out
 * @returns {any}
 */
export function el(tag, given = {}, ...children) {
  const [name, ...classes] = tag.split('.');
  const node = document.createElement(name);
  if (classes.length) node.className = classes.join(' ');
  for (const [key, value] of Object.entries(given)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (key === 'style') Object.entries(value).forEach(([property, to]) => node.style.setProperty(property, to));
    else if (key in node && !key.startsWith('aria') && typeof value !== 'string') node[key] = value;
    else node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/**
 * Put other children into an element. The focus stays on the control of the same `data-focus`. Where it is scrolled to is
 * neither read nor written: that would have the browser lay out the page at once, and between two layouts it stays.
 */
export function fill(node, ...children) {
  const focus = document.activeElement?.closest?.('[data-focus]');
  const name = focus && node.contains(focus) ? focus.getAttribute('data-focus') : null;
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  if (name) [...node.querySelectorAll('[data-focus]')].find((one) => one.getAttribute('data-focus') === name)?.focus({ preventScroll: true });
}

/** A button with a name for everybody. */
export const button = (text, onclick, given = {}) => el(`button${given.class ? `.${given.class}` : ''}`, { type: 'button', onclick, ...given, class: null }, text);

/** Let a file be saved under a name. @param {Blob} blob */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
