/**
 * The matrix: every box against every other, the share of the one's input that the other gives, as a table whose cells
 * are coloured by it. It shows what the drawing leaves out, and reads well where the drawing is dense.
 * @module
 */
import { button, el, fill } from './dom.js';
import { collapsed } from './groups.js';
import { signed } from './text.js';

const MOST = 60;
const WEAKEST = 0.005;

/** The boxes that give, and those that take, with the shares between them. */
export function matrixOf(store) {
  const { boxes } = store.circuit;
  const { weights } = collapsed(store.page.graph, store.page.known, boxes);
  const strength = (i) => boxes.reduce((sum, _, k) => sum + Math.abs(weights[i][k]) + Math.abs(weights[k][i]), 0);
  const used = boxes.map((_, i) => i).filter((i) => strength(i) > WEAKEST).slice(0, MOST);
  const rank = (i) => ({ token: -1, error: -0.5, logit: 1e6 })[boxes[i].kind] ?? boxes[i].layer;
  const sources = used.filter((i) => boxes[i].kind !== 'logit').sort((a, b) => rank(a) - rank(b) || (boxes[a].positions[0] ?? 0) - (boxes[b].positions[0] ?? 0));
  const targets = used.filter((i) => !['token', 'error'].includes(boxes[i].kind)).sort((a, b) => rank(b) - rank(a));
  return { boxes, weights, sources, targets };
}

/** @param {HTMLElement} root @param {import('./store.js').Store} store */
export function matrixStage(root, store) {
  const frame = el('div.stage.matrix-stage', { hidden: true });
  root.append(frame);

  function draw() {
    if (frame.hidden) return;
    const { boxes, weights, sources, targets } = store.value('matrix', [store.circuit], () => matrixOf(store));
    const name = (i) => button(boxes[i].label, () => store.select([boxes[i].key]), { class: 'reference', 'data-key': boxes[i].key });
    const head = el('tr', {}, el('th', {}, el('span.quiet', {}, 'takes ↓ from →')), ...sources.map((i) => el('th.turned', { scope: 'col', 'data-key': boxes[i].key }, name(i))));
    const rows = targets.map((target) => el('tr', { 'data-key': boxes[target].key }, el('th', { scope: 'row' }, name(target)), ...sources.map((source) => cell(boxes, weights, target, source))));
    fill(frame, el('table.matrix', {}, el('caption', {}, 'The share of each row’s input that comes from each column: solid raises it, striped lowers it.'), el('thead', {}, head), el('tbody', {}, ...rows)));
    mark();
  }

  function cell(boxes, weights, target, source) {
    const share = weights[target][source];
    if (target === source || Math.abs(share) < WEAKEST) return el('td', {});
    const text = `${boxes[source].label} to ${boxes[target].label}: ${signed(share)}`;
    const is = share < 0 ? 'lowers' : 'raises';
    return el(`td.${is}`, { style: { '--strength': `${Math.round(100 * Math.min(1, Math.abs(share)) ** 0.6)}%` } }, el('button', { type: 'button', title: text, 'aria-label': text, onclick: () => store.select([boxes[source].key, boxes[target].key]) }, signed(share)));
  }

  function mark() {
    for (const node of frame.querySelectorAll('[data-key]')) node.classList.toggle('is-selected', store.selection.includes(node.getAttribute('data-key')));
  }

  return { frame, draw, mark, zoom: () => undefined, fit: () => undefined, focus: () => frame.querySelector('tbody button')?.focus(), row: () => [] };
}
