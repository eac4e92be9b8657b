/**
 * A picture as plain values: written as text for a file, or shown by elements, of which only those are touched that differ
 * from what is shown already. A picture of hundreds of boxes stays fluid so, while one of them is added.
 * @module
 */
import { inXml } from './text.js';

const SVG = 'http://www.w3.org/2000/svg';

/**
 * @typedef {object} Tree
 * @property {string} tag
 * @property {string} key  by which it is known among its siblings; '' where its place says it
 * @property {Record<string, string|number>} given  attributes
 * @property {(Tree|string)[]} inside
 */

/** @param {string} tag @param {Record<string, string|number>} given @param {any[]} inside  trees and texts; '' is left out @returns {Tree} */
export const tree = (tag, given = {}, ...inside) => ({ tag, key: '', given, inside: inside.flat().filter((one) => one !== '') });

/** The same, known among its siblings by a key. @param {string} key @param {Tree} one @returns {Tree} */
export const keyed = (key, one) => ({ ...one, key });

/** As text. @param {Tree|string} one @returns {string} */
export function written(one) {
  if (typeof one === 'string') return inXml(one);
  const given = Object.entries(one.given).map(([name, value]) => ` ${name}="${inXml(value)}"`).join('');
  return one.inside.length ? `<${one.tag}${given}>${one.inside.map(written).join('')}</${one.tag}>` : `<${one.tag}${given}/>`;
}

/** Elements that show one tree after another. */
export class Shown {
  /** @param {Element} parent  of the one element that shows the tree */
  constructor(parent) {
    this.parent = parent;
    /** @type {Tree|null} */
    this.now = null;
    this.node = null;
  }

  /** @param {Tree} next @returns {Element} */
  show(next) {
    if (this.now === null) {
      this.node = made(next);
      this.parent.replaceChildren(this.node);
    } else changed(this.node, this.now, next);
    this.now = next;
    return this.node;
  }
}

/** @param {Tree|string} one @returns {any} */
function made(one) {
  if (typeof one === 'string') return document.createTextNode(one);
  const node = document.createElementNS(SVG, one.tag);
  for (const [name, value] of Object.entries(one.given)) node.setAttribute(name, String(value));
  for (const child of one.inside) node.append(made(child));
  return node;
}

function changed(node, old, next) {
  if (old === next) return;
  for (const [name, value] of Object.entries(next.given)) if (old.given[name] !== value) node.setAttribute(name, String(value));
  for (const name of Object.keys(old.given)) if (!(name in next.given)) node.removeAttribute(name);
  const before = places(old.inside);
  const after = places(next.inside);
  const standing = new Map([...before.keys()].map((name, i) => [name, node.childNodes[i]]));
  for (const [name, child] of standing) if (!after.has(name)) child.remove();
  let at = node.firstChild;
  for (const [name, one] of after) {
    const child = standing.get(name);
    if (child === undefined) node.insertBefore(made(one), at);
    else {
      if (typeof one === 'string') {
        if (before.get(name) !== one) child.data = one;
      } else changed(child, before.get(name), one);
      if (child === at) at = at.nextSibling;
      else node.insertBefore(child, at);
    }
  }
}

/** What stands inside, by its key, or by its tag and place among those without one; two of one key are told apart. */
function places(inside) {
  const found = new Map();
  inside.forEach((one, i) => {
    let name = one.key ? `=${one.key}` : `${one.tag ?? 'text'} ${i}`;
    while (found.has(name)) name += "'";
    found.set(name, one);
  });
  return found;
}
