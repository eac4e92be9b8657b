/**
 * What of a box's input comes from each node by paths through nodes that are not drawn. From one circuit to the next few
 * nodes are drawn more or less, and of a sum that is known only the paths through those are taken away or put back.
 * @module
 */
const MOST_KEPT = 256; // of as many boxes the sums are kept, an array of all nodes each
const NOTHING = 1e-12; // of what was taken away from: the rest of a sum of which nothing is left

/** @typedef {{own: Set<number>, reached: Float64Array, isAsked: boolean}} Sum */

export class Passages {
  /** @param {any} graph @param {any} known */
  constructor(graph, known) {
    this.graph = graph;
    this.known = known;
    this.isDrawn = new Uint8Array(graph.n);
    /** @type {Map<string, Sum>} */
    this.sums = new Map();
    this.passes = 0; // over the graph, so far
  }

  /** From now on these boxes are drawn. @param {{members: number[]}[]} boxes */
  draw(boxes) {
    const next = new Uint8Array(this.graph.n);
    for (const box of boxes) for (const node of box.members) next[node] = 1;
    const turned = [];
    for (let i = 0; i < next.length; i++) if (next[i] !== this.isDrawn[i]) turned.push(i);
    for (const [name, sum] of this.sums) if (!sum.isAsked) this.sums.delete(name);
    for (const sum of this.sums.values()) sum.isAsked = false;
    // a node that turns costs one pass over the graph, as does a sum that is made anew
    if (turned.length >= this.sums.size) this.sums.clear();
    for (const node of turned) this.turn(node);
  }

  /** One node is drawn that was not, or no longer: paths through it end there, or go on from there. */
  turn(node) {
    const sign = this.isDrawn[node] ? 1 : -1;
    let beyond = null;
    for (const { own, reached } of this.sums.values()) {
      const passed = reached[node];
      if (passed === 0 || own.has(node)) continue;
      beyond ??= this.passage([node]);
      for (let i = 0; i < reached.length; i++) {
        const part = beyond[i] * passed;
        if (part === 0) continue;
        const left = reached[i] + sign * part;
        reached[i] = Math.abs(left) < NOTHING * Math.abs(part) ? 0 : left;
      }
    }
    this.isDrawn[node] = 1 - this.isDrawn[node];
  }

  /** For every node the signed share of the members' input that reaches it by paths through nothing drawn. */
  into(members) {
    const name = members.join();
    const known = this.sums.get(name);
    if (known) {
      known.isAsked = true;
      return known.reached;
    }
    const sum = { own: new Set(members), reached: this.passage(members), isAsked: true };
    if (this.sums.size < MOST_KEPT) this.sums.set(name, sum);
    return sum.reached;
  }

  /** The same, summed over the edges. Nodes whose influence passes: the members, and all that are not drawn. */
  passage(members) {
    const { graph, known, isDrawn } = this;
    const own = new Set(members);
    const reached = new Float64Array(graph.n);
    this.passes++;
    for (let k = Math.min(...members.map((node) => known.turn[node])); k < known.rows.length; k++) {
      const row = known.rows[k];
      const node = graph.rowNodes[row];
      const isOwn = own.has(node);
      const passed = reached[node] + (isOwn ? 1 / members.length : 0);
      if (passed === 0 || (isDrawn[node] && !isOwn)) continue;
      for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) reached[graph.indices[e]] += known.signed[e] * passed;
    }
    return reached;
  }
}
