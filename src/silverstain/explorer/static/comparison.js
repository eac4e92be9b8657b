/**
 * Two graphs side by side: what both have, and what only one has, with how much of the influence each part carries.
 * @module
 */
import { FEATURE, KINDS, TOKEN, isUnit } from './format.js';

/**
 * @typedef {{key: string, name: string, kind: string, side: 'shared'|'left'|'right', left: number, right: number, nodes: number[]}} Part
 * nodes: of the left graph
 */

/** What a node is matched by: its id, or, in prompts that differ, its feature wherever it is. */
export function keyOf(graph, node, byPlace) {
  if (byPlace) return graph.ids[node];
  if (graph.kind[node] === TOKEN) return `word ${graph.names[node].trim()}`;
  return graph.kind[node] === FEATURE ? `${graph.layer[node]}_${graph.feature[node]}` : graph.ids[node];
}

/**
 * The union of both, the largest differences first.
 * @param {any} left  `{graph, known}` @param {any} right @returns {Part[]}
 */
export function unionOf(left, right, { byPlace = true, nameOf = (/** @type {any} */ page, /** @type {number} */ node) => page.graph.names[node] } = {}) {
  /** @type {Map<string, Part>} */
  const parts = new Map();
  const add = (page, side) => {
    const { graph, known } = page;
    for (let i = 0; i < graph.n; i++) {
      if (!isUnit(graph, i) && graph.kind[i] !== TOKEN) continue;
      const key = keyOf(graph, i, byPlace);
      const part = parts.get(key) ?? { key, name: byPlace ? nameOf(page, i) : nameOf(page, i).replace(/@\d+$/, ''), kind: KINDS[graph.kind[i]], side, left: 0, right: 0, nodes: [] };
      if (part.side !== side && part.side !== 'shared') part.side = 'shared';
      part[side] += known.total > 0 ? known.reached[i] / known.total : 0;
      if (side === 'left') part.nodes.push(i);
      parts.set(key, part);
    }
  };
  add(left, 'left');
  add(right, 'right');
  return [...parts.values()].sort((a, b) => Math.abs(b.left - b.right) - Math.abs(a.left - a.right) || a.key.localeCompare(b.key));
}

/** How many parts there are of each side, and what they carry in each graph. */
export function summed(parts) {
  const of = (side) => parts.filter((part) => part.side === side);
  return Object.fromEntries(['shared', 'left', 'right'].map((side) => [side, { n: of(side).length, left: of(side).reduce((sum, part) => sum + part.left, 0), right: of(side).reduce((sum, part) => sum + part.right, 0) }]));
}
