/**
 * The strongest paths between two sets of nodes: those with the largest product of shares along their edges.
 * @module
 */

const WEAKEST = 1e-3; // share of an edge below which no path is followed

/**
 * @typedef {{nodes: number[], weight: number}} Path  weight: the product of signed shares
 * @param {number[]} from @param {number[]} to @param {number} most
 * @returns {Path[]} strongest first
 */
export function strongestPaths(graph, known, from, to, most = 5) {
  const starts = new Set(from);
  const ends = new Set(to);
  /** @type {(Path & {size: number})[][]} */
  const best = new Array(graph.n);
  for (const node of starts) best[node] = [{ nodes: [node], weight: 1, size: 1 }];
  for (const row of [...known.rows].reverse()) {
    const target = graph.rowNodes[row];
    if (starts.has(target)) continue; // a path begins at its last start
    const found = [];
    for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) {
      const share = known.signed[e];
      const before = best[graph.indices[e]];
      if (!before || Math.abs(share) < WEAKEST || ends.has(graph.indices[e])) continue; // and ends at its first end
      for (const path of before) {
        const size = path.size * Math.abs(share);
        if (found.length < most || size > found[found.length - 1].size) {
          found.push({ before: path, weight: path.weight * share, size });
          found.sort((a, b) => b.size - a.size);
          found.length = Math.min(found.length, most);
        }
      }
    }
    if (found.length) best[target] = found.map(({ before, weight, size }) => ({ nodes: [...before.nodes, target], weight, size }));
  }
  return [...ends]
    .filter((node) => !starts.has(node))
    .flatMap((node) => best[node] ?? [])
    .sort((a, b) => b.size - a.size)
    .slice(0, most)
    .map(({ nodes, weight }) => ({ nodes, weight }));
}
