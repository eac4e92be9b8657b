/**
 * What is asked of a whole graph, and takes long for a large one: reading its columns, and sums over all of its edges.
 * A worker answers it beside the page, or the page itself where it may have none; both through `answerTo`.
 * @module
 */
import { decoded } from './format.js';
import { analysed } from './influence.js';
import { pruned } from './pruning.js';
import { scoresOfKept } from './scores.js';

/** @typedef {{graph: import('./format.js').Graph, known: ReturnType<typeof analysed>}} Opened */

/** The graph of a document, and what does not change while it is looked at. @returns {Opened} */
export function opened(document) {
  const graph = decoded(document);
  return { graph, known: analysed(graph) };
}

/**
 * The answer to a question about a graph that was opened.
 * @param {import('./format.js').Graph} graph
 * @param {{what: 'scores', nodes: Uint8Array} | {what: 'kept', nodeShare: number}} asked
 */
export function answerTo(graph, asked) {
  return asked.what === 'scores' ? scoresOfKept(graph, asked.nodes) : pruned(graph, { nodeShare: asked.nodeShare }).nodes;
}
