/**
 * The edges of a circuit: the strongest ones, and so many more that every box has a way from words and to an answer.
 * Where a box touches nothing that is drawn, the edge is the sum of the paths through nodes that are not drawn
 * (`direct: false`). The rule is that of `silverstain show`.
 * @module
 */
const SMALLEST_SHARE = 0.05;
const SMALLEST_WAY = 0.005;
const MOST_INPUTS = 4;
const MOST_FROM_ERRORS = 3;
const isSource = (kind) => kind === 'token' || kind === 'error';

/**
 * @typedef {{source: number, target: number, weight: number, direct: boolean}} Edge
 * @param {{weights: Float64Array[], shares: number[]}} between
 * @param {{members: number[], kind: string}[]} boxes
 * @returns {Edge[]} strongest first, without cycles; all of them lead to an answer
 */
export function chosenEdges(graph, known, between, boxes) {
  const kinds = boxes.map((box) => box.kind);
  const order = new Order(boxes.length);
  const strong = strongEdges(between.weights, kinds);
  const fromErrors = strong.filter((edge) => kinds[edge.source] === 'error').slice(0, MOST_FROM_ERRORS);
  const edges = order.withoutCycles(strong.filter((e) => kinds[e.source] !== 'error' || fromErrors.includes(e)));
  const ways = new Ways(graph, known, between, boxes);
  const strongest = boxes.map((_, i) => i).sort((a, b) => between.shares[b] - between.shares[a] || a - b);
  for (const unit of strongest) {
    if (isSource(kinds[unit]) || kinds[unit] === 'logit' || edges.some((edge) => edge.source === unit)) continue;
    const targets = boxes.map((_, i) => i).filter((t) => !isSource(kinds[t]) && !order.reaches(t, unit));
    edges.push(...order.withoutCycles(ways.outOf(unit, targets)));
  }
  const errors = boxes.map((_, i) => i).filter((i) => kinds[i] === 'error');
  for (const unit of strongest) {
    const entering = new Set(edges.filter((edge) => edge.target === unit).map((edge) => kinds[edge.source]));
    if (isSource(kinds[unit]) || [...entering].some((kind) => kind !== 'error')) continue;
    const may = (s) => kinds[s] !== 'logit' && kinds[s] !== 'error' && !order.reaches(unit, s);
    let found = ways.into(unit, boxes.map((_, i) => i).filter(may));
    if (!found.length && !entering.size) found = ways.into(unit, errors);
    edges.push(...order.withoutCycles(found));
  }
  return sorted(towardsAnswers(edges, kinds));
}

const sorted = (edges) =>
  edges.sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight) || a.target - b.target || a.source - b.source);

/** For each target its strongest inputs, and for each unit its strongest output. */
function strongEdges(weights, kinds) {
  const chosen = new Map();
  const choose = (target, source) => chosen.set(`${target} ${source}`, [target, source]);
  weights.forEach((row, target) => {
    const ranked = Array.from(row, (_, s) => s).sort((a, b) => Math.abs(row[b]) - Math.abs(row[a]));
    for (const s of ranked.slice(0, MOST_INPUTS)) if (Math.abs(row[s]) >= SMALLEST_SHARE) choose(target, s);
  });
  kinds.forEach((kind, source) => {
    let best = 0;
    weights.forEach((row, t) => Math.abs(row[source]) > Math.abs(weights[best][source]) && (best = t));
    if (!isSource(kind) && Math.abs(weights[best][source]) >= SMALLEST_SHARE) choose(best, source);
  });
  return sorted([...chosen.values()].map(([target, source]) => ({ source, target, weight: weights[target][source], direct: true })));
}

/** Which box reaches which, a bit each: groups of many layers may feed each other, and a drawing has no cycle. */
class Order {
  constructor(n) {
    this.from = Array.from({ length: n }, (_, i) => {
      const bits = new Uint32Array((n >> 5) + 1);
      bits[i >> 5] = 1 << (i & 31);
      return bits;
    });
  }

  reaches(from, to) {
    return ((this.from[from][to >> 5] >>> (to & 31)) & 1) === 1;
  }

  withoutCycles(edges) {
    return edges.filter(({ source, target }) => {
      if (this.reaches(target, source)) return false;
      if (this.reaches(source, target)) return true;
      const gained = this.from[target];
      for (const row of this.from) if ((row[source >> 5] >>> (source & 31)) & 1) for (let k = 0; k < row.length; k++) row[k] |= gained[k];
      return true;
    });
  }
}

/** The one edge that joins a box to what is drawn. */
class Ways {
  constructor(graph, known, between, boxes) {
    this.graph = graph;
    this.known = known;
    this.between = between;
    this.boxes = boxes;
    this.found = new Map();
    this.reached = new Float64Array(graph.n);
    this.isDrawn = new Uint8Array(graph.n);
    for (const box of boxes) for (const node of box.members) this.isDrawn[node] = 1;
  }

  /** To where most of its influence goes. */
  outOf(unit, targets) {
    const weightOf = (t) =>
      this.boxes[t].kind === 'logit'
        ? Math.max(this.graph.activation[this.boxes[t].members[0]], 1e-9)
        : this.between.shares[t];
    const size = (way) => Math.abs(way.weight) * weightOf(way.target);
    const direct = targets.map((target) => ({ source: unit, target, weight: this.between.weights[target][unit], direct: true }));
    let best = largest(direct, size);
    if (!best || Math.abs(best.weight) < SMALLEST_WAY) {
      // the heaviest first: no more than all of a target's input comes through, so what is lighter than the best is passed over
      for (const target of [...targets].sort((a, b) => weightOf(b) - weightOf(a) || a - b)) {
        if (best && weightOf(target) <= size(best)) break;
        best = largest([best, { source: unit, target, weight: this.through(target)[unit], direct: false }].filter(Boolean), size);
      }
    }
    return best && best.weight !== 0 ? [best] : [];
  }

  /** From what gives most of its input. */
  into(unit, sources) {
    const size = (way) => Math.abs(way.weight);
    const direct = sources.map((source) => ({ source, target: unit, weight: this.between.weights[unit][source], direct: true }));
    let best = largest(direct, size);
    if (!best || Math.abs(best.weight) < SMALLEST_WAY) {
      const sums = this.through(unit);
      best = largest([...direct, ...sources.map((source) => ({ source, target: unit, weight: sums[source], direct: false }))], size);
    }
    return best && best.weight !== 0 ? [best] : [];
  }

  /** For every box the signed share of the target's input that reaches it by paths through no box. */
  through(target) {
    if (this.found.has(target)) return this.found.get(target);
    const { graph, known, boxes, isDrawn, reached } = this;
    const { members } = boxes[target];
    const own = new Set(members);
    reached.fill(0);
    const first = Math.min(...members.map((node) => known.turn[node]));
    for (let k = first; k < known.rows.length; k++) {
      const row = known.rows[k];
      const node = graph.rowNodes[row];
      const isOwn = own.has(node);
      const passed = reached[node] + (isOwn ? 1 / members.length : 0);
      if (passed === 0 || (isDrawn[node] && !isOwn)) continue;
      for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) reached[graph.indices[e]] += known.signed[e] * passed;
    }
    const sums = Float64Array.from(boxes, (box, i) => (i === target ? 0 : box.members.reduce((sum, node) => sum + reached[node], 0)));
    this.found.set(target, sums);
    return sums;
  }
}

const largest = (ways, size) => ways.reduce((best, way) => (best && size(best) >= size(way) ? best : way), null);

function towardsAnswers(edges, kinds) {
  const reached = new Set();
  const todo = kinds.flatMap((kind, i) => (kind === 'logit' ? [i] : []));
  while (todo.length) {
    const node = todo.pop();
    if (reached.has(node)) continue;
    reached.add(node);
    for (const edge of edges) if (edge.target === node) todo.push(edge.source);
  }
  return edges.filter((edge) => reached.has(edge.target));
}
