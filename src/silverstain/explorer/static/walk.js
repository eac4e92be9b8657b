/**
 * Walking from node to node with the keyboard.
 * @module
 */
import { inputsOf, outputsOf } from './groups.js';
import { isRest } from './format.js';

/**
 * The key one step from the selection, or null.
 * @param {import('./store.js').Store} store @param {string} way
 */
export function stepFrom(store, way, row) {
  const order = drawnKeys(store);
  const from = store.selection.at(-1);
  if (!from) return order[0] ?? null;
  if (way === 'previous' || way === 'next') {
    const at = order.indexOf(from);
    return order[at < 0 ? 0 : at + (way === 'next' ? 1 : -1)] ?? null;
  }
  if (way === 'left' || way === 'right') {
    const at = row.indexOf(from);
    return at < 0 ? null : (row[at + (way === 'right' ? 1 : -1)] ?? null);
  }
  return store.state.view === 'flow' ? alongNodes(store, from, way) : alongBoxes(store, from, way);
}

/** What is drawn, the answer first and then the strongest. */
function drawnKeys(store) {
  const { graph, known } = store.page;
  if (store.state.view === 'flow') {
    const drawn = graph.ids.flatMap((_, i) => (store.visible.nodes[i] ? [i] : []));
    return drawn.sort((a, b) => known.weights[b] - known.weights[a] || known.reached[b] - known.reached[a] || a - b).map((i) => graph.ids[i]);
  }
  const rank = (box) => (box.kind === 'logit' ? 10 + (box.share || 0) : box.kind === 'token' ? box.share - 10 : box.share);
  return [...store.circuit.boxes].sort((a, b) => rank(b) - rank(a)).map((box) => box.key);
}

function alongBoxes(store, from, way) {
  const { boxes, edges } = store.circuit;
  const members = new Set(store.membersOf(from));
  const at = boxes.findIndex((box) => box.key === from || box.members.some((node) => members.has(node)));
  const [mine, other] = way === 'input' ? ['target', 'source'] : ['source', 'target'];
  const best = edges.filter((edge) => edge[mine] === at).sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight))[0];
  return best ? boxes[best[other]].key : null;
}

function alongNodes(store, from, way) {
  const { graph, known } = store.page;
  const members = store.membersOf(from);
  const none = new Int32Array(graph.n).fill(-1);
  const found = way === 'input' ? inputsOf(graph, known, members, none) : outputsOf(graph, known, members, [], none);
  const best = found.find(({ key }) => store.visible.nodes[key] && !isRest(graph, key)) ?? found.find(({ key }) => store.visible.nodes[key]);
  return best ? graph.ids[best.key] : null;
}
