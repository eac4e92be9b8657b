/**
 * Groups of nodes, and the edges between them: adj(T, S) = Σ_t f(t) Σ_s A[t, s] / Σ_t f(t), f(t) being the share of
 * t's input that comes from outside T (Circuit Tracing, Ameisen et al. 2025).
 * @module
 */

/** The group of each node, -1 for none. @param {{members: number[]}[]} groups */
export function groupOfNodes(n, groups) {
  const groupOf = new Int32Array(n).fill(-1);
  groups.forEach((group, k) => group.members.forEach((node) => (groupOf[node] = k)));
  return groupOf;
}

/** Weights between groups, as rows of targets, and the influence of each. */
export function collapsed(graph, known, groups) {
  const groupOf = groupOfNodes(graph.n, groups);
  const n = groups.length;
  const weights = Array.from({ length: n }, () => new Float64Array(n));
  const weight = new Float64Array(n);
  for (let row = 0; row < graph.rowNodes.length; row++) {
    const target = groupOf[graph.rowNodes[row]];
    if (target < 0) continue;
    let outside = 0;
    for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) {
      if (groupOf[graph.indices[e]] !== target) outside += known.shares[e];
    }
    weight[target] += outside;
    for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) {
      const source = groupOf[graph.indices[e]];
      if (source >= 0 && source !== target) weights[target][source] += outside * known.signed[e];
    }
  }
  weights.forEach((row, target) => row.forEach((sum, source) => (row[source] = weight[target] > 0 ? sum / weight[target] : 0)));
  return { weights, shares: groups.map((group) => shareOf(known, group.members)) };
}

/** Influence of nodes / influence of all nodes. */
export function shareOf(known, members) {
  let sum = 0;
  for (const node of members) sum += known.reached[node];
  return known.total > 0 ? sum / known.total : 0;
}

/**
 * What enters a group, by source: groups of `groupOf` as one, other nodes alone. Sorted by |share|; `key` is
 * -1 - group, or a node.
 */
export function inputsOf(graph, known, members, groupOf) {
  const own = new Set(members);
  const sums = new Map();
  let weight = 0;
  for (const member of members) {
    const row = graph.rowOf[member];
    if (row < 0) continue;
    let outside = 0;
    for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) {
      if (!own.has(graph.indices[e])) outside += known.shares[e];
    }
    weight += outside;
    for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) {
      const source = graph.indices[e];
      if (own.has(source) || known.signed[e] === 0) continue;
      const key = groupOf[source] >= 0 ? -1 - groupOf[source] : source;
      sums.set(key, (sums.get(key) ?? 0) + outside * known.signed[e]);
    }
  }
  return sorted([...sums].map(([key, sum]) => ({ key, share: weight > 0 ? sum / weight : 0 })));
}

/** What leaves nodes, by target: the share of the target's input that they give, sorted by what it moves. */
export function outputsOf(graph, known, members, groups, groupOf) {
  const own = new Set(members);
  const targets = new Set();
  for (const member of members) {
    for (let k = known.out.indptr[member]; k < known.out.indptr[member + 1]; k++) {
      const e = known.out.edges[k];
      const target = graph.rowNodes[known.out.rows[e]];
      if (!own.has(target) && known.signed[e] !== 0) targets.add(groupOf[target] >= 0 ? -1 - groupOf[target] : target);
    }
  }
  const found = [...targets].map((key) => {
    const of = (key < 0 ? groups[-1 - key].members : [key]).filter((node) => !own.has(node));
    const weight = of.reduce((sum, node) => sum + known.reached[node] + known.weights[node], 0);
    return { key, share: shareFrom(graph, known, of, own), weight };
  });
  return found.filter((one) => one.share !== 0).sort((a, b) => Math.abs(b.share) * b.weight - Math.abs(a.share) * a.weight);
}

function shareFrom(graph, known, members, sources) {
  const own = new Set(members);
  let sum = 0;
  let weight = 0;
  for (const member of members) {
    const row = graph.rowOf[member];
    if (row < 0) continue;
    let outside = 0;
    let given = 0;
    for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) {
      if (!own.has(graph.indices[e])) outside += known.shares[e];
      if (sources.has(graph.indices[e])) given += known.signed[e];
    }
    weight += outside;
    sum += outside * given;
  }
  return weight > 0 ? sum / weight : 0;
}

const sorted = (found) => found.sort((a, b) => Math.abs(b.share) - Math.abs(a.share));
