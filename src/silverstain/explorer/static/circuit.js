/**
 * Which boxes a circuit has: the groups and single units with the most influence, and what is pinned, with words,
 * answers and errors at the ends. The rule is that of `silverstain show`, with pins and hidden nodes added.
 * @module
 */
import { ATTENTION, LOGIT, KINDS, isRest, isUnit } from './format.js';
import { carried } from './influence.js';
import { collapsed, groupOfNodes } from './groups.js';
import { chosenEdges } from './ways.js';
import { shown } from './text.js';

const NEGLIGIBLE = 0.02;
const GOOD = 0.8;
const ONE_WAY = 0.2;
const MOST_WORDS = 256;
const MOST_ANSWERS = 3;

/**
 * @typedef {object} Box
 * @property {string} key  `g:label` of a group, the id of a single node, `w:position` of a word, `errors`
 * @property {string} label
 * @property {string} kind  token, logit, error, feature, attention, or what a group's kind says
 * @property {number[]} members
 * @property {number} share  of the influence; of an answer its probability, NaN if it has none
 * @property {number} layer  mean over the members, weighted by influence
 * @property {number[]} positions
 * @property {number} sign  which way it moves the answer: 1, -1, or 0 where that goes both ways
 * @property {boolean} isGroup
 */

/**
 * @param {any} page  `{document, graph, known, index}`
 * @param {import('./state.js').State} state
 * @param {import('./passages.js').Passages} [passages]  of the last circuit of this graph
 * @returns {{boxes: Box[], edges: import('./ways.js').Edge[]}}
 */
export function circuitOf(page, state, passages) {
  const { graph, known, document } = page;
  const units = chosenUnits(page, state);
  const all = [...wordBoxes(page), ...errorBoxes(page), ...units, ...answerBoxes(page)].filter((box) => !state.hidden[box.key]);
  const between = collapsed(graph, known, all);
  const edges = chosenEdges(graph, known, between, all, passages);
  const used = new Set(edges.flatMap((edge) => [edge.source, edge.target]));
  all.forEach((box, i) => (box.kind === 'logit' || box.isPinned) && used.add(i));
  const kept = all.flatMap((_, i) => (used.has(i) ? [i] : []));
  const place = new Map(kept.map((old, i) => [old, i]));
  const signs = document.contrast ? directions(graph, known, all) : all.map(() => 0);
  const first = graph.kind.indexOf(LOGIT);
  const boxes = kept.map((i) => described(page, all[i], between.shares[i], signs[i], first));
  return {
    boxes: toldApart(boxes),
    edges: edges.map((edge) => ({ ...edge, source: place.get(edge.source), target: place.get(edge.target) })),
  };
}

/** Nodes of the graph that are in no box: what the counter calls not drawn. */
export function drawnNodes(graph, boxes) {
  const drawn = new Uint8Array(graph.n);
  for (const box of boxes) for (const node of box.members) drawn[node] = 1;
  return drawn;
}

/** The groups of a state whose members this graph has, each node in the first group that names it. */
export function groupsIn(page, state) {
  const taken = new Set();
  return state.groups.flatMap((group) => {
    const members = [...new Set(group.members)].map((id) => page.index.get(id)).filter((node) => node !== undefined && !taken.has(node));
    members.forEach((node) => taken.add(node));
    return members.length ? [{ ...group, key: groupKey(group), members }] : [];
  });
}

export const groupKey = (group) => `g:${group.label}`;

/** The label of a node: its own, its feature's, or what it is called. */
export function labelOf(page, state, node, named = true) {
  const { graph } = page;
  const own = state.labels[graph.ids[node]];
  const common = graph.kind[node] === 0 ? state.labels[`${graph.layer[node]}_${graph.feature[node]}`] : undefined;
  return shown(own ?? common ?? (named ? graph.names[node] : ''));
}

function chosenUnits(page, state) {
  const { graph, known, index } = page;
  const pinned = new Set(state.pins.map((id) => index.get(id)).filter((node) => node !== undefined));
  const taken = new Set();
  const groups = groupsIn(page, state).flatMap((group) => {
    const members = group.members.filter((node) => isUnit(graph, node));
    if (group.kind === 'logit' || !members.length) return [];
    members.forEach((node) => taken.add(node));
    const kind = group.kind === 'token' ? 'word' : group.kind || 'group';
    return [{ key: group.key, label: shown(group.label), kind, members, isGroup: true, isPinned: members.some((m) => pinned.has(m)) }];
  });
  const most = Math.max(state.boxes, 0) + pinned.size;
  const isAlone = (node) => isUnit(graph, node) && !taken.has(node);
  const alone = [...known.strongest.filter((node) => pinned.has(node) && isAlone(node))].slice(0, most);
  for (const node of known.strongest) {
    if (alone.length >= most || !(known.reached[node] > 0)) break;
    if (!pinned.has(node) && isAlone(node)) alone.push(node);
  }
  const singles = alone.map((node) => ({
    key: graph.ids[node],
    label: labelOf(page, state, node, false) || shortName(graph, node),
    kind: KINDS[graph.kind[node]],
    members: [node],
    isGroup: false,
    isPinned: pinned.has(node),
  }));
  const units = [...groups, ...singles].filter((unit) => !state.hidden[unit.key]);
  const size = new Map(units.map((unit) => [unit, unit.members.reduce((sum, node) => sum + known.reached[node], 0)]));
  const ranked = units.sort((a, b) => size.get(b) - size.get(a));
  const top = ranked.length ? size.get(ranked[0]) : 0;
  const strong = ranked.filter((unit) => size.get(unit) > 0 && size.get(unit) >= NEGLIGIBLE * top).slice(0, state.boxes);
  return [...strong, ...ranked.filter((unit) => unit.isPinned && !strong.includes(unit))];
}

/** L3.F1501 without the position; of attention what it does. */
const shortName = (graph, node) => (graph.kind[node] === ATTENTION ? graph.names[node] : graph.names[node].split('@')[0]);

export function wordBoxes({ document, graph, known }) {
  const at = new Map();
  for (let i = 0; i < graph.n; i++) if (graph.kind[i] === 3) at.set(graph.position[i], i);
  const words = document.words.flatMap(([start, stop, text]) => {
    const members = [];
    for (let p = start; p < stop; p++) if (at.has(p)) members.push(at.get(p));
    return members.length ? [{ key: `w:${start}`, label: text, kind: 'token', members, isGroup: false }] : [];
  });
  if (words.length <= MOST_WORDS) return words;
  const size = (word) => word.members.reduce((sum, node) => sum + known.reached[node], 0);
  const strongest = new Set([...words].sort((a, b) => size(b) - size(a)).slice(0, MOST_WORDS));
  return words.filter((word) => strongest.has(word));
}

function errorBoxes({ document, graph }) {
  const { replacement } = document.scores;
  if (replacement === null || !(replacement < GOOD)) return [];
  const members = graph.ids.flatMap((_, i) => (isRest(graph, i) ? [i] : []));
  const label = document.is_rest ? 'all the rest' : 'error nodes';
  return members.length ? [{ key: 'errors', label, kind: 'error', members, isGroup: true }] : [];
}

function answerBoxes({ document, graph }) {
  const nodes = graph.ids.flatMap((_, i) => (graph.kind[i] === LOGIT ? [i] : []));
  const ranked = [...nodes].sort((a, b) => graph.activation[b] - graph.activation[a] || a - b).slice(0, MOST_ANSWERS);
  const name = (node) => (document.contrast ? graph.names[node].split(/\s+/).filter(Boolean).join(' ') : graph.names[node]);
  return ranked.map((node) => ({ key: graph.ids[node], label: name(node), kind: 'logit', members: [node], isGroup: false }));
}

function described({ document, graph, known }, box, share, direction, first) {
  const size = box.members.reduce((sum, node) => sum + known.reached[node], 0);
  const weight = (node) => (size > 0 ? known.reached[node] / size : 1 / box.members.length);
  const isAnswer = box.kind === 'logit';
  const sign = ['token', 'logit', 'error'].includes(box.kind) || Math.abs(direction) < ONE_WAY ? 0 : Math.sign(direction);
  return {
    ...box,
    isPinned: Boolean(box.isPinned),
    share: isAnswer ? (document.targets[box.members[0] - first]?.probability ?? NaN) : share,
    layer: box.members.reduce((sum, node) => sum + graph.layer[node] * weight(node), 0),
    positions: [...new Set(box.members.map((node) => graph.position[node]))].sort((a, b) => a - b),
    position: strongestPosition(graph, box.members, weight),
    sign,
    name: box.members.length === 1 && isUnit(graph, box.members[0]) ? graph.names[box.members[0]] : '',
    isAttention: box.kind !== 'error' && box.members.every((node) => graph.kind[node] === ATTENTION),
  };
}

function strongestPosition(graph, members, weight) {
  const at = new Map();
  for (const node of members) at.set(graph.position[node], (at.get(graph.position[node]) ?? 0) + weight(node));
  return [...at].sort((a, b) => b[1] - a[1] || a[0] - b[0])[0]?.[0] ?? -1;
}

/** Which way each group moves the answer, from -1 to 1: Σ c / Σ |c|, c being what a member adds outside its group. */
export function directions(graph, known, groups) {
  const groupOf = groupOfNodes(graph.n, groups);
  const share = carried(graph);
  const byNode = new Float64Array(graph.n);
  for (let row = 0; row < graph.rowNodes.length; row++) {
    const target = graph.rowNodes[row];
    const passedOn = known.weights[target] + known.added[target];
    for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) {
      if (groupOf[graph.indices[e]] !== groupOf[target]) byNode[graph.indices[e]] += share[e] * passedOn;
    }
  }
  return groups.map((group) => {
    let sum = 0;
    let size = 0;
    for (const node of group.members) {
      sum += byNode[node];
      size += Math.abs(byNode[node]);
    }
    return size > 0 ? sum / size : 0;
  });
}

/** Single units that would be called alike, with their names beside. */
function toldApart(boxes) {
  const times = new Map();
  for (const box of boxes) if (box.kind !== 'token') times.set(box.label, (times.get(box.label) ?? 0) + 1);
  return boxes.map((box) => {
    if (!box.name || times.get(box.label) < 2) return box;
    return { ...box, label: box.name.startsWith(`${box.label}@`) ? box.name : `${box.label} (${box.name})` };
  });
}
