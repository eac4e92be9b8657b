/**
 * How much each node moves the targets, summed over paths of every length. The same definitions as in Python
 * (`silverstain.graphs.influence`), against which these functions are tested.
 * @module
 */
import { BIAS, LOGIT, isUnit, outgoing } from './format.js';

/** Probabilities of the targets, normalised to sum to 1; 0 elsewhere. Equal shares if none has a probability. */
export function targetWeights(graph) {
  const weights = new Float64Array(graph.n);
  let total = 0;
  for (let i = 0; i < graph.n; i++) if (graph.kind[i] === LOGIT) total += weights[i] = graph.activation[i];
  if (!(total > 0)) {
    total = 0;
    for (let i = 0; i < graph.n; i++) if (graph.kind[i] === LOGIT) total += weights[i] = 1;
  }
  return weights.map((weight) => (total > 0 ? weight / total : 0));
}

/**
 * Each edge's share of its target's input, |value| / Σ |values|; biases, and edges that are not kept, have share 0.
 * @param {Uint8Array|null} [kept]
 */
export function edgeShares(graph, kept = null) {
  const { indptr, indices, values, kind } = graph;
  const shares = new Float64Array(values.length);
  for (let row = 0; row + 1 < indptr.length; row++) {
    let total = kept ? 0 : (graph.leftOut?.[row] ?? 0);
    for (let e = indptr[row]; e < indptr[row + 1]; e++) {
      if (kind[indices[e]] !== BIAS && (!kept || kept[e])) total += shares[e] = Math.abs(values[e]);
    }
    if (total > 0) for (let e = indptr[row]; e < indptr[row + 1]; e++) shares[e] /= total;
  }
  return shares;
}

/** The shares, below 0 where an edge works against its target (into a unit whose activation is below 0: with it). */
export function signedShares(graph, shares = edgeShares(graph)) {
  const signed = Float64Array.from(shares);
  for (let row = 0; row + 1 < graph.indptr.length; row++) {
    const target = graph.rowNodes[row];
    const turned = isUnit(graph, target) && graph.activation[target] < 0 ? -1 : 1;
    for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) signed[e] *= turned * Math.sign(graph.values[e]);
  }
  return signed;
}

/** Rows by depth, the highest first: a row is done before all rows that feed it. */
export function rowsFromTop(graph) {
  const rows = Int32Array.from(graph.rowNodes, (_, row) => row);
  return rows.sort((a, b) => graph.depth[graph.rowNodes[b]] - graph.depth[graph.rowNodes[a]] || a - b);
}

/**
 * w(A + A² + …): one pass over the rows from the top visits each edge once. With `open`, nothing passes the nodes for
 * which it is 0.
 * @param {Uint8Array|null} [open]
 */
export function influence(graph, shares = edgeShares(graph), goal = targetWeights(graph), rows = rowsFromTop(graph), open = null) {
  const reached = new Float64Array(graph.n);
  for (const row of rows) {
    const target = graph.rowNodes[row];
    const passedOn = goal[target] + reached[target];
    if (passedOn === 0 || (open && !open[target])) continue;
    for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) reached[graph.indices[e]] += shares[e] * passedOn;
  }
  return reached;
}

/** Nodes by their influence, the strongest first. */
export const strongestFirst = (reached) => Int32Array.from(reached, (_, i) => i).sort((a, b) => reached[b] - reached[a] || a - b);

/** Share of all influence carried by a node and those above it: low means important. */
export function cumulative(reached, order = strongestFirst(reached)) {
  const out = new Float64Array(reached.length);
  let total = 0;
  for (const value of reached) total += value;
  let sum = 0;
  for (const i of order) out[i] = (sum += reached[i]) / Math.max(total, Number.MIN_VALUE);
  return out;
}

/** What each node adds to the targets through all paths, signed: the edge into a unit of value v carries A / v of it. */
export function contributions(graph, goal = targetWeights(graph), rows = rowsFromTop(graph)) {
  return influence(graph, carried(graph), goal, rows);
}

/** The share of its target that each edge makes; into a target of the graph, what it makes of it. */
export function carried(graph) {
  const out = new Float64Array(graph.nEdges);
  for (let row = 0; row + 1 < graph.indptr.length; row++) {
    const whole = graph.kind[graph.rowNodes[row]] === LOGIT ? 1 : graph.valuesOfTargets[row];
    if (whole === 0) continue;
    for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) out[e] = graph.values[e] / whole;
  }
  return out;
}

/**
 * Everything about a graph that does not change while it is looked at, computed once. `turn` is the place of a node's row
 * in `rows`.
 * @param {import('./format.js').Graph} graph
 */
export function analysed(graph) {
  const rows = rowsFromTop(graph);
  const weights = targetWeights(graph);
  const shares = edgeShares(graph);
  const reached = influence(graph, shares, weights, rows);
  let total = 0;
  for (const value of reached) total += value;
  const strongest = strongestFirst(reached);
  const turn = new Int32Array(graph.n).fill(rows.length);
  rows.forEach((row, k) => (turn[graph.rowNodes[row]] = k));
  return {
    rows,
    turn,
    weights,
    shares,
    signed: signedShares(graph, shares),
    reached,
    total,
    strongest,
    ranks: cumulative(reached, strongest),
    added: contributions(graph, weights, rows),
    out: outgoing(graph),
  };
}
