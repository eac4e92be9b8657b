/**
 * Which nodes and edges are drawn, and why the others are not: every hidden node is counted under one reason.
 * @module
 */
import { BIAS, KINDS, LOGIT, TOKEN, isRest, isUnit } from './format.js';
import { fit } from './search.js';

export const MOST_EDGES = 6000;
const DRAWN = '';

/**
 * @typedef {{why: string, nodes: number, share: number}} Reason
 * @typedef {{nodes: Uint8Array, drawn: number, total: number, share: number, reasons: Reason[]}} Visible
 */

/**
 * What the flow draws. `textOf` is what a node is called, for the filter by text; `kept` what pruning keeps, where only
 * that is to be drawn.
 * @returns {Visible}
 */
export function visibleInFlow(page, state, textOf, kept = null) {
  const { graph, known } = page;
  const { kinds, layers, positions, sign, text } = state.filters;
  const shownKinds = new Set(kinds.map((kind) => KINDS.indexOf(kind)));
  const inRange = (range, value) => !range || (value >= range[0] && value <= range[1]);
  return counted(page, (i) => {
    const kind = graph.kind[i];
    if (graph.ids[i] in state.hidden) return `hidden by hand: ${state.hidden[graph.ids[i]]}`;
    if (kind === BIAS && !shownKinds.has(BIAS)) return 'constants: biases carry no influence';
    if (!shownKinds.has(kind)) return `kind filtered out: ${KINDS[kind]}`;
    if (!inRange(positions, graph.position[i])) return 'outside the chosen positions';
    if (kind !== TOKEN && kind !== LOGIT && !inRange(layers, graph.layer[i])) return 'outside the chosen layers';
    if (sign && isUnit(graph, i) && Math.sign(known.added[i]) !== sign) return 'they move the answer the other way';
    if (text && isUnit(graph, i) && !fit(textOf(i), text)) return 'the text filter leaves them out';
    if (kept && !kept[i]) return 'pruning leaves them out: too weak, or a dead end';
    if (kind === TOKEN || kind === LOGIT) return DRAWN;
    // the node that crosses the threshold is still drawn, so that what is drawn carries at least the share
    const before = known.ranks[i] - known.reached[i] / Math.max(known.total, Number.MIN_VALUE);
    if (!(known.reached[i] > 0)) return 'they move no answer at all';
    if (before >= state.nodeShare - 1e-9) return `weaker than the nodes that carry ${Math.round(100 * state.nodeShare)} % of the influence`;
    return DRAWN;
  });
}

/** What the circuit draws: the members of its boxes. @returns {Visible} */
export function visibleInCircuit(page, state, boxes, groups) {
  const { graph, known } = page;
  const drawn = new Uint8Array(graph.n);
  for (const box of boxes) for (const node of box.members) drawn[node] = 1;
  const byHand = new Map(Object.entries(state.hidden));
  const groupHidden = new Map(groups.flatMap((group) => (byHand.has(group.key) ? group.members.map((node) => [node, byHand.get(group.key)]) : [])));
  const top = Math.max(0, ...boxes.filter((box) => !['token', 'logit', 'error'].includes(box.kind)).map((box) => box.share));
  return counted(page, (i) => {
    if (drawn[i]) return DRAWN;
    const why = byHand.get(graph.ids[i]) ?? groupHidden.get(i);
    if (why !== undefined) return `hidden by hand: ${why}`;
    if (graph.kind[i] === BIAS) return 'constants: biases carry no influence';
    if (graph.kind[i] === TOKEN) return 'words that no drawn box reads strongly';
    if (graph.kind[i] === LOGIT) return 'less likely answers';
    if (isRest(graph, i)) return page.document.is_rest ? 'the rest of each place, which has no node of its own' : 'errors of the dictionary, through which little passes';
    if (known.reached[i] < 0.02 * top * known.total) return 'each moves the answer less than a fiftieth of what the strongest box does';
    return `not among the ${state.boxes} strongest boxes`;
  });
}

function counted({ graph, known }, whyOf) {
  const nodes = new Uint8Array(graph.n);
  const reasons = new Map();
  let drawn = 0;
  let share = 0;
  for (let i = 0; i < graph.n; i++) {
    const why = whyOf(i);
    if (why === DRAWN) {
      nodes[i] = 1;
      drawn++;
      share += known.reached[i];
    } else {
      const reason = reasons.get(why) ?? { why, nodes: 0, share: 0 };
      reason.nodes++;
      reason.share += known.total > 0 ? known.reached[i] / known.total : 0;
      reasons.set(why, reason);
    }
  }
  const ranked = [...reasons.values()].sort((a, b) => b.share - a.share || b.nodes - a.nodes);
  return { nodes, drawn, total: graph.n, share: known.total > 0 ? share / known.total : 0, reasons: ranked };
}

const PER_OCTAVE = 64;
const OCTAVES = 64;

/** What flows along each edge, and its place on a scale of logarithms, computed once: a slider then sorts nothing. */
export function edgeFlows({ graph, known }) {
  const flows = new Float64Array(graph.nEdges);
  const levels = new Uint16Array(graph.nEdges);
  for (let row = 0; row < graph.rowNodes.length; row++) {
    const passed = known.reached[graph.rowNodes[row]] + known.weights[graph.rowNodes[row]];
    for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) {
      flows[e] = known.shares[e] * passed;
      if (flows[e] > 0) levels[e] = 1 + Math.min(Math.max(Math.floor((Math.log2(flows[e]) + OCTAVES - 2) * PER_OCTAVE), 0), PER_OCTAVE * OCTAVES - 2);
    }
  }
  return { flows, levels };
}

/**
 * The strongest edges between drawn nodes that carry `share` of what flows there (to a hundredth), at most `most`.
 * @param {any} page  `{graph}`
 * @param {{flows: Float64Array, levels: Uint16Array}} flow  of all edges
 * @returns {{edges: Int32Array, rows: Int32Array, flows: Float64Array, between: number, wanted: number}}
 */
export function visibleEdges({ graph }, flow, nodes, share, most = MOST_EDGES) {
  const sums = new Float64Array(PER_OCTAVE * OCTAVES);
  const counts = new Int32Array(PER_OCTAVE * OCTAVES);
  const each = (visit) => {
    for (let row = 0; row < graph.rowNodes.length; row++) {
      if (!nodes[graph.rowNodes[row]]) continue;
      for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) if (flow.levels[e] && nodes[graph.indices[e]]) visit(e, row);
    }
  };
  let total = 0;
  let between = 0;
  each((e) => {
    sums[flow.levels[e]] += flow.flows[e];
    counts[flow.levels[e]]++;
    total += flow.flows[e];
    between++;
  });
  let [least, drawn, wanted, carried] = [sums.length, 0, 0, 0];
  for (let level = sums.length - 1; level > 0 && carried < share * total * (1 - 1e-9); level--) {
    carried += sums[level];
    wanted += counts[level];
    if (wanted <= most) [least, drawn] = [level, wanted];
  }
  const edges = new Int32Array(drawn);
  const rows = new Int32Array(drawn);
  let k = 0;
  each((e, row) => {
    if (flow.levels[e] < least) return;
    edges[k] = e;
    rows[k++] = row;
  });
  return { edges, rows, flows: Float64Array.from(edges, (e) => flow.flows[e]), between, wanted };
}
