/**
 * What a person has made of a graph, as one plain value, and every change of it as a function from value to value.
 * @module
 */

/**
 * @typedef {object} State
 * @property {string[]} pins  ids of nodes that are always drawn
 * @property {{label: string, members: string[], kind: string}[]} groups
 * @property {Record<string, string>} labels  by node id, or by `layer_feature` at every position
 * @property {string[]} notes
 * @property {any[]} evidence  experiments and what came of them, the last ones last
 * @property {Record<string, string>} hidden  key of a box or node -> why
 * @property {Record<string, [number, number]>} places  of boxes that were dragged, from where the layout puts them
 * @property {number} boxes  how many units the circuit draws
 * @property {number} nodeShare  the flow draws the fewest nodes that carry this share of the influence
 * @property {number} edgeShare  and the fewest edges between them that carry this share of what flows there
 * @property {{kinds: string[], layers: [number, number]|null, positions: [number, number]|null, sign: number, text: string, pruned: boolean}} filters
 * @property {string} view  one of VIEWS
 * @property {string[]} tags  by which the start page finds the graph
 */

export const VIEWS = ['circuit', 'flow', 'matrix', 'table', 'contrast', 'lens', 'compare'];
const KINDS_SHOWN = ['feature', 'attention', 'error', 'token', 'logit'];
export const NO_FILTERS = { kinds: KINDS_SHOWN, layers: null, positions: null, sign: 0, text: '', pruned: false };

/** The state a story's document begins with. @returns {State} */
export function stateOfStory(story, pruning = null) {
  const view = story.view ?? {};
  return {
    pins: [...(story.pins ?? [])],
    groups: (story.groups ?? []).map((group) => ({ label: group.label, members: [...group.members], kind: group.kind ?? '' })),
    labels: { ...story.labels },
    notes: [...(story.notes ?? [])],
    evidence: [...(story.evidence ?? [])],
    hidden: strings(view.hidden),
    places: places(view.places),
    boxes: between(view.boxes, 1, 200, 10),
    nodeShare: between(view.node_share, 0, 1, pruning?.node_share ?? 0.8),
    edgeShare: between(view.edge_share, 0, 1, 0.8),
    filters: filters(view.filters),
    tags: Array.isArray(view.tags) ? view.tags.filter((tag) => typeof tag === 'string') : [],
    view: VIEWS.includes(view.view) ? view.view : 'circuit',
  };
}

/** The story's document with what the state says; whatever else it holds stays as it is. */
export function storyOf(state, story) {
  const { pins, groups, labels, notes, evidence } = state;
  const view = {
    hidden: state.hidden,
    places: state.places,
    boxes: state.boxes,
    node_share: state.nodeShare,
    edge_share: state.edgeShare,
    filters: state.filters,
    view: state.view,
    ...(state.tags.length ? { tags: state.tags } : {}),
  };
  return { ...story, pins, groups, labels, notes, evidence, view };
}

const between = (value, low, high, otherwise) =>
  typeof value === 'number' && value >= low && value <= high ? value : otherwise;

const strings = (entries) =>
  Object.fromEntries(Object.entries(entries ?? {}).filter(([, value]) => typeof value === 'string'));

const isPair = (pair) => Array.isArray(pair) && pair.length === 2 && pair.every(Number.isFinite);

const places = (entries) => Object.fromEntries(Object.entries(entries ?? {}).filter(([, pair]) => isPair(pair)));

function filters(given) {
  if (!given || typeof given !== 'object') return NO_FILTERS;
  return {
    kinds: Array.isArray(given.kinds) ? given.kinds.filter((kind) => typeof kind === 'string') : NO_FILTERS.kinds,
    layers: isPair(given.layers) ? given.layers : null,
    positions: isPair(given.positions) ? given.positions : null,
    sign: [1, -1].includes(given.sign) ? given.sign : 0,
    text: typeof given.text === 'string' ? given.text : '',
    pruned: given.pruned === true,
  };
}

/** A label that no group has yet: with 2, 3, … behind it where it is taken. */
export function freeLabel(state, label, except = null) {
  const taken = new Set(state.groups.filter((group) => group.label !== except).map((group) => group.label));
  let found = label;
  for (let k = 2; taken.has(found); k++) found = `${label} ${k}`;
  return found;
}

/** Pin nodes, or unpin them if all are pinned. */
export function togglePins(state, ids) {
  const pinned = new Set(state.pins);
  const all = ids.every((id) => pinned.has(id));
  ids.forEach((id) => (all ? pinned.delete(id) : pinned.add(id)));
  return { ...state, pins: [...pinned] };
}

/** One group of these nodes, taken out of the groups they were in; groups left empty are gone. */
export function grouped(state, ids, label) {
  const members = [...new Set(ids)];
  const own = new Set(members);
  const others = state.groups
    .map((group) => ({ ...group, members: group.members.filter((id) => !own.has(id)) }))
    .filter((group) => group.members.length);
  const free = freeLabel({ ...state, groups: others }, label);
  return { ...state, groups: [...others, { label: free, members, kind: '' }] };
}

/** Dissolve a group; its members stay. */
export const ungrouped = (state, label) => withoutPlace({ ...state, groups: state.groups.filter((group) => group.label !== label) }, `g:${label}`);

/** Call a group something else. */
export function renamedGroup(state, label, name) {
  const free = freeLabel(state, name, label);
  const groups = state.groups.map((group) => (group.label === label ? { ...group, label: free } : group));
  return moved(moved({ ...state, groups }, 'places', `g:${label}`, `g:${free}`), 'hidden', `g:${label}`, `g:${free}`);
}

function moved(state, field, from, to) {
  if (!(from in state[field]) || from === to) return state;
  const { [from]: value, ...others } = state[field];
  return { ...state, [field]: { ...others, [to]: value } };
}

/** Say what a node means; an empty name takes the label away. */
export function labelled(state, id, name) {
  const { [id]: _, ...labels } = state.labels;
  return { ...state, labels: name ? { ...labels, [id]: name } : labels };
}

/** Leave boxes or nodes out, with the reason. */
export const hidden = (state, keys, why) => ({ ...state, hidden: { ...state.hidden, ...Object.fromEntries(keys.map((key) => [key, why])) } });

/** Draw again what was hidden: some keys, or all. */
export function unhidden(state, keys = Object.keys(state.hidden)) {
  const gone = new Set(keys);
  return { ...state, hidden: Object.fromEntries(Object.entries(state.hidden).filter(([key]) => !gone.has(key))) };
}

/** A box moved away from where the layout puts it. */
export const placed = (state, key, x, y) => ({ ...state, places: { ...state.places, [key]: [Math.round(x), Math.round(y)] } });

function withoutPlace(state, key) {
  const { [key]: _, ...places } = state.places;
  return { ...state, places };
}

/** An experiment that was made, at the end of those that are kept; one that was made before in just this way gives way. */
export function withEvidence(state, entry) {
  const same = (one) => one?.kind === entry.kind && one.asked && JSON.stringify(one.asked) === JSON.stringify(entry.asked);
  return { ...state, evidence: [...state.evidence.filter((one) => !same(one)), entry] };
}

/** Tags as they were typed, with commas between them. */
export const tagged = (state, text) => ({ ...state, tags: [...new Set(text.split(',').map((tag) => tag.trim().slice(0, 40)).filter(Boolean))].slice(0, 12) });

/** The curves of a contrast, in place of those that were measured before. */
export const withCurves = (state, entry) => ({ ...state, evidence: [...state.evidence.filter((one) => one?.kind !== 'curves'), entry] });

/** One experiment less. */
export const withoutEvidence = (state, at) => ({ ...state, evidence: state.evidence.filter((_, i) => i !== at) });

/** Filters with some of them changed. */
export const filtered = (state, changes) => ({ ...state, filters: { ...state.filters, ...changes } });
