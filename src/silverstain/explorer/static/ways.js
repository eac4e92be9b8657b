/**
 * The edges of a circuit: the strongest ones, and so many more that every box has a way from words and to an answer.
 * Where a box touches nothing that is drawn, the edge is the sum of the paths through nodes that are not drawn
 * (`direct: false`). The rule is that of `silverstain show`.
 * @module
 */
import { Passages } from './passages.js';

const SMALLEST_SHARE = 0.05;
const SMALLEST_WAY = 0.005;
const MOST_INPUTS = 4;
const MOST_FROM_ERRORS = 3;
const isSource = (kind) => kind === 'token' || kind === 'error';

/**
 * @typedef {{source: number, target: number, weight: number, direct: boolean}} Edge
 * @param {{weights: Float64Array[], shares: number[]}} between
 * @param {{members: number[], kind: string}[]} boxes
 * @param {Passages} passages  may be those of the last circuit of the same graph: what did not change is not summed again
 * @returns {Edge[]} strongest first, without cycles; all of them lead to an answer
 */
export function chosenEdges(graph, known, between, boxes, passages = new Passages(graph, known)) {
  const kinds = boxes.map((box) => box.kind);
  const order = new Order(boxes.length);
  const strong = strongEdges(between.weights, kinds);
  const fromErrors = strong.filter((edge) => kinds[edge.source] === 'error').slice(0, MOST_FROM_ERRORS);
  const edges = order.withoutCycles(strong.filter((e) => kinds[e.source] !== 'error' || fromErrors.includes(e)));
  passages.draw(boxes);
  const ways = new Ways(graph, between, boxes, passages);
  const strongest = boxes.map((_, i) => i).sort((a, b) => between.shares[b] - between.shares[a] || a - b);
  for (const unit of strongest) {
    if (isSource(kinds[unit]) || kinds[unit] === 'logit' || edges.some((edge) => edge.source === unit)) continue;
    edges.push(...order.withoutCycles(ways.outOf(unit, (t) => !isSource(kinds[t]) && !order.reaches(t, unit))));
  }
  const all = boxes.map((_, i) => i);
  const errors = all.filter((i) => kinds[i] === 'error');
  for (const unit of strongest) {
    const entering = new Set(edges.filter((edge) => edge.target === unit).map((edge) => kinds[edge.source]));
    if (isSource(kinds[unit]) || [...entering].some((kind) => kind !== 'error')) continue;
    const may = (s) => kinds[s] !== 'logit' && kinds[s] !== 'error' && !order.reaches(unit, s);
    let found = ways.into(unit, all.filter(may));
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
    const strong = [];
    row.forEach((weight, s) => Math.abs(weight) >= SMALLEST_SHARE && strong.push(s));
    for (const s of strong.sort((a, b) => Math.abs(row[b]) - Math.abs(row[a])).slice(0, MOST_INPUTS)) choose(target, s);
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
  constructor(graph, between, boxes, passages) {
    this.between = between;
    this.boxes = boxes;
    this.passages = passages;
    this.found = new Map();
    this.weights = Float64Array.from(boxes, (box, t) => (box.kind === 'logit' ? Math.max(graph.activation[box.members[0]], 1e-9) : between.shares[t]));
    this.heaviest = boxes.map((_, t) => t).sort((a, b) => this.weights[b] - this.weights[a] || a - b);
  }

  /** To where most of its influence goes. @param {(target: number) => boolean} may */
  outOf(unit, may) {
    const size = (way) => Math.abs(way.weight) * this.weights[way.target];
    const { weights } = this.between;
    let best = null;
    let most = -1;
    for (let target = 0; target < this.boxes.length; target++) {
      const own = Math.abs(weights[target][unit]) * this.weights[target];
      if (own > most && may(target)) [best, most] = [{ source: unit, target, weight: weights[target][unit], direct: true }, own];
    }
    if (!best || Math.abs(best.weight) < SMALLEST_WAY) {
      // the heaviest first: no more than all of a target's input comes through, so what is lighter than the best is passed over
      for (const target of this.heaviest) {
        if (!may(target)) continue;
        if (best && this.weights[target] <= size(best)) break;
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
    if (!this.found.has(target)) {
      const reached = this.passages.into(this.boxes[target].members);
      const sums = new Float64Array(this.boxes.length);
      this.boxes.forEach(({ members }, i) => {
        if (i !== target) for (const node of members) sums[i] += reached[node];
      });
      this.found.set(target, sums);
    }
    return this.found.get(target);
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
