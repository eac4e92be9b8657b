/**
 * How much of the answer is explained: of the whole graph, or of what is drawn, where everything else counts as error.
 * @module
 */
import { TOKEN, isRest, isUnit, withPlaces } from './format.js';
import { edgeShares, influence, targetWeights } from './influence.js';

/** Replacement and completeness (the paper's, and over all rows circuit-tracer's). */
export function scores(graph) {
  const shares = edgeShares(graph);
  const weights = targetWeights(graph);
  const reached = influence(graph, shares, weights);
  let tokens = 0;
  let errors = 0;
  for (let i = 0; i < graph.n; i++) {
    if (graph.kind[i] === TOKEN) tokens += reached[i];
    if (isRest(graph, i)) errors += reached[i];
  }
  let explained = 0;
  let weight = 0;
  let all = 0;
  let allWeight = 0;
  for (let i = 0; i < graph.n; i++) {
    const own = reached[i] + weights[i];
    const row = graph.rowOf[i];
    let input = 0;
    let fromErrors = 0;
    for (let e = row < 0 ? 0 : graph.indptr[row]; row >= 0 && e < graph.indptr[row + 1]; e++) {
      input += shares[e];
      if (isRest(graph, graph.indices[e])) fromErrors += shares[e];
    }
    all += own * (1 - fromErrors);
    allWeight += own;
    if (input > 0) {
      explained += own * (1 - fromErrors);
      weight += own;
    }
  }
  const ratio = (part, whole) => (whole > 0 ? part / whole : 0);
  return {
    replacement: ratio(tokens, tokens + errors),
    completeness: ratio(explained, weight),
    completenessAllRows: ratio(all, allWeight),
  };
}

/** Scores of a part: units outside of `kept` (one entry a node) count as error at their place. */
export const scoresOfKept = (graph, kept) => scores(removedAsError(graph, kept));

/**
 * The graph in which every unit that is not kept is part of the error, or of the rest of attention, at its place: its
 * edges are added, with their signs, to that node's edge into the same target. Places without one are given one.
 */
export function removedAsError(graph, kept) {
  const place = (i) => `${graph.depth[i]} ${graph.position[i]}`;
  const rests = new Map();
  for (let i = graph.n - 1; i >= 0; i--) {
    if (isRest(graph, i) && graph.layer[i] >= 0 && graph.position[i] >= 0) rests.set(place(i), i);
  }
  const countedAt = Int32Array.from(graph.ids, (_, i) => i);
  const added = [];
  for (let i = 0; i < graph.n; i++) {
    if (!isUnit(graph, i) || kept[i]) continue;
    if (!rests.has(place(i))) {
      rests.set(place(i), graph.n + added.length);
      added.push(i);
    }
    countedAt[i] = rests.get(place(i));
  }
  const n = graph.n + added.length;
  const longer = (column, of) => {
    const out = new column.constructor(n);
    out.set(column);
    added.forEach((node, k) => (out[graph.n + k] = of(node)));
    return out;
  };
  const rowNodes = [];
  const leftOut = [];
  const valuesOfTargets = [];
  const indptr = [0];
  const indices = [];
  const values = [];
  const sums = new Float64Array(n);
  const seen = new Uint8Array(n);
  for (let row = 0; row < graph.rowNodes.length; row++) {
    if (countedAt[graph.rowNodes[row]] !== graph.rowNodes[row]) continue;
    const sources = [];
    for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) {
      const source = countedAt[graph.indices[e]];
      if (!seen[source]) sources.push(source);
      seen[source] = 1;
      sums[source] += graph.values[e];
    }
    for (const source of sources) {
      indices.push(source);
      values.push(sums[source]);
      sums[source] = seen[source] = 0;
    }
    rowNodes.push(graph.rowNodes[row]);
    leftOut.push(graph.leftOut?.[row] ?? 0);
    valuesOfTargets.push(graph.valuesOfTargets[row]);
    indptr.push(indices.length);
  }
  return withPlaces({
    ...graph,
    n,
    nEdges: values.length,
    ids: [...graph.ids, ...added.map((i) => `rest of ${graph.ids[i]}`)],
    kind: longer(graph.kind, (i) => (graph.kind[i] === 1 ? 1 : 2)),
    layer: longer(graph.layer, (i) => graph.layer[i]),
    position: longer(graph.position, (i) => graph.position[i]),
    feature: longer(graph.feature, () => -1),
    activation: longer(graph.activation, () => 0),
    leftOut: graph.leftOut ? Float64Array.from(leftOut) : null,
    rowNodes: Int32Array.from(rowNodes),
    valuesOfTargets: Float64Array.from(valuesOfTargets),
    indptr: Int32Array.from(indptr),
    indices: Int32Array.from(indices),
    values: Float64Array.from(values),
  });
}
