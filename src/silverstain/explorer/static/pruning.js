/**
 * Keeping the few nodes and edges that carry most of the influence, by the same rule as `silverstain prune`.
 * @module
 */
import { BIAS, LOGIT, TOKEN, isRest, isUnit } from './format.js';
import { edgeShares, influence, targetWeights } from './influence.js';

/** The smallest weight among the fewest, largest first, that add up to `share` of the total; Infinity for none. */
export function smallestKept(weights, share) {
  const present = Float64Array.from(weights).filter((weight) => weight > 0).sort();
  if (!present.length || !(share > 0)) return Infinity;
  let total = 0;
  for (const weight of present) total += weight;
  let sum = 0;
  for (let i = present.length - 1; i >= 0; i--) {
    sum += present[i];
    if (sum >= share * total) return present[i];
  }
  return present[0];
}

/** A mask of those that are no smaller. @returns {Uint8Array} */
export function topShare(weights, share) {
  const least = smallestKept(weights, share);
  return Uint8Array.from(weights, (weight) => (weight >= least ? 1 : 0));
}

/** The masks of a pruned graph. @returns {{nodes: Uint8Array, edges: Uint8Array}} */
export function pruned(graph, { nodeShare = 0.8, edgeShare = 0.98, keepErrors = true } = {}) {
  const stays = (i) => graph.kind[i] === TOKEN || graph.kind[i] === LOGIT || (keepErrors && isRest(graph, i));
  const strong = topShare(influence(graph), nodeShare);
  const nodes = Uint8Array.from(strong, (is, i) => ((is || stays(i)) && graph.kind[i] !== BIAS ? 1 : 0));
  const between = new Uint8Array(graph.nEdges);
  eachEdge(graph, (e, source, target) => (between[e] = nodes[source] & nodes[target]));
  const shares = edgeShares(graph, between);
  const weights = targetWeights(graph);
  const reached = influence(graph, shares, weights);
  const worth = new Float64Array(graph.nEdges);
  eachEdge(graph, (e, source, target) => (worth[e] = shares[e] * (reached[target] + weights[target])));
  const edges = topShare(worth, edgeShare).map((is, e) => is & between[e]);
  return withoutDeadEnds(graph, nodes, edges, stays);
}

function withoutDeadEnds(graph, nodes, edges, stays) {
  for (let changed = true; changed; ) {
    const feeds = new Uint8Array(graph.n);
    const isFed = new Uint8Array(graph.n);
    eachEdge(graph, (e, source, target) => {
      if (edges[e]) feeds[source] = isFed[target] = 1;
    });
    changed = false;
    for (let i = 0; i < graph.n; i++) {
      if (nodes[i] && !((stays(i) || feeds[i]) && (!isUnit(graph, i) || isFed[i]))) {
        nodes[i] = 0;
        changed = true;
      }
    }
    eachEdge(graph, (e, source, target) => (edges[e] &= nodes[source] & nodes[target]));
  }
  return { nodes, edges };
}

/** Calls `visit(edge, source, target)` for every edge. */
export function eachEdge(graph, visit) {
  for (let row = 0; row < graph.rowNodes.length; row++) {
    const target = graph.rowNodes[row];
    for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) visit(e, graph.indices[e], target);
  }
}
