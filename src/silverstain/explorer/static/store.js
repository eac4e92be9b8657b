/**
 * What the page knows and shows at this moment: the graph, a person's state with its history, and what is selected.
 * Views ask it for values, which are computed once for the same state, and are told when to draw again.
 * @module
 */
import { circuitOf, groupsIn, labelOf, wordBoxes } from './circuit.js';
import { LOGIT } from './format.js';
import { Passages } from './passages.js';
import { changed, historyOf, redone, undone } from './history.js';
import { stateOfStory, storyOf } from './state.js';
import { edgeFlows, visibleEdges, visibleInCircuit, visibleInFlow } from './visible.js';
import { groupOfNodes } from './groups.js';

export class Store {
  /**
   * @param {any} document
   * @param {import('./sums.js').Opened} opened  its graph
   * @param {(asked: any) => Promise<any>} ask  for sums over the graph, which come when they come
   */
  constructor(document, { graph, known }, ask, { remembered = null, fragment = null } = {}) {
    const index = new Map(graph.ids.map((id, i) => /** @type {[string, number]} */ ([id, i])).reverse());
    this.page = { document, graph, known, index };
    this.passages = new Passages(graph, known);
    this.ask = ask;
    this.story = document.story;
    this.initial = stateOfStory(this.story, document.pruning);
    this.history = historyOf(this.first(remembered, fragment));
    this.selection = (fragment?.selection ?? []).filter((key) => typeof key === 'string');
    this.hovered = '';
    this.listeners = new Set();
    this.values = new Map();
  }

  /** The state to begin with: what the address says, else what the browser kept, else the story's. */
  first(remembered, fragment) {
    try {
      const kept = remembered ? stateOfStory(remembered, this.page.document.pruning) : this.initial;
      if (!fragment) return JSON.stringify(kept) === JSON.stringify(this.initial) ? this.initial : kept;
      const { selection: _, ...changes } = fragment;
      return stateOfStory(storyOf({ ...this.initial, ...changes }, this.story), this.page.document.pruning);
    } catch {
      return this.initial;
    }
  }

  get state() {
    return this.history.now;
  }

  subscribe(listener) {
    this.listeners.add(listener);
  }

  /** @param {'state'|'selection'|'hover'|'answer'} what */
  tell(what) {
    for (const listener of this.listeners) listener(what);
  }

  /** A change by the person: one step that can be undone. */
  apply(state, what, kind = '') {
    this.history = changed(this.history, state, what, { kind, at: Date.now() });
    this.settle();
  }

  undo() {
    const step = this.history.past.at(-1);
    this.history = undone(this.history);
    this.settle();
    return step?.what;
  }

  redo() {
    const step = this.history.future[0];
    this.history = redone(this.history);
    this.settle();
    return step?.what;
  }

  settle() {
    this.selection = this.selection.filter((key) => this.membersOf(key).length);
    this.tell('state');
  }

  /** @param {string[]} keys */
  select(keys, { add = false } = {}) {
    const known = keys.filter((key) => this.membersOf(key).length);
    const all = add && known.length && known.every((key) => this.selection.includes(key));
    this.selection = !add ? known : all ? this.selection.filter((key) => !known.includes(key)) : [...new Set([...this.selection, ...known])];
    this.tell('selection');
  }

  hover(key) {
    if (key === this.hovered) return;
    this.hovered = key;
    this.tell('hover');
  }

  /** The value of `make`, computed again only when one of `needs` is another. */
  value(name, needs, make) {
    const old = this.values.get(name);
    if (old && old.needs.length === needs.length && old.needs.every((need, i) => need === needs[i])) return old.value;
    const value = make();
    this.values.set(name, { needs, value });
    return value;
  }

  /** What is asked for elsewhere: the answer, or the last one until it comes, and everybody is told; null before any. */
  later(name, needs, asked) {
    const old = this.values.get(name);
    if (old && old.needs.length === needs.length && old.needs.every((need, i) => need === needs[i])) return old.value;
    const entry = { needs, value: old?.value ?? null, isWaiting: true };
    this.values.set(name, entry);
    this.ask(asked).then((value) => {
      if (this.values.get(name) !== entry || value === null) return;
      Object.assign(entry, { value, isWaiting: false });
      this.tell('answer');
    });
    return entry.value;
  }

  /** Whether an answer of that name is still to come. */
  isWaiting(name) {
    return this.values.get(name)?.isWaiting === true;
  }

  get circuit() {
    const { pins, groups, labels, hidden, boxes } = this.state;
    return this.value('circuit', [pins, groups, labels, hidden, boxes], () => circuitOf(this.page, this.state, this.passages));
  }

  get groups() {
    return this.value('groups', [this.state.groups], () => groupsIn(this.page, this.state));
  }

  get groupOf() {
    return this.value('groupOf', [this.groups], () => groupOfNodes(this.page.graph.n, this.groups));
  }

  /** What inputs and outputs are summed over: groups, and words of several tokens; and of each node which one. */
  get parts() {
    return this.value('parts', [this.groups], () => {
      const words = wordBoxes(this.page).filter((word) => word.members.some((node) => this.groupOf[node] < 0));
      const parts = [...this.groups, ...words.map((word) => ({ ...word, members: word.members.filter((node) => this.groupOf[node] < 0) }))];
      return { parts, partOf: groupOfNodes(this.page.graph.n, parts) };
    });
  }

  get visible() {
    const { state, page } = this;
    if (state.view === 'flow') {
      const kept = state.filters.pruned ? this.kept : null;
      const needs = [state.hidden, state.nodeShare, state.filters, state.labels, kept];
      return this.value('flow', needs, () => visibleInFlow(page, state, (i) => labelOf(page, state, i), kept));
    }
    return this.value('drawn', [this.circuit, state.hidden], () => visibleInCircuit(page, state, this.circuit.boxes, this.groups));
  }

  /** What `silverstain prune` keeps at this share; null until it is known. */
  get kept() {
    const { nodeShare } = this.state;
    return this.later('kept', [nodeShare], { what: 'kept', nodeShare });
  }

  get edges() {
    const { nodes } = this.visible;
    return this.value('edges', [nodes, this.state.edgeShare], () => visibleEdges(this.page, this.value('flows', [this.page], () => edgeFlows(this.page)), nodes, this.state.edgeShare));
  }

  /** Scores of what is drawn: everything else counts as error; null until they are known. */
  get scores() {
    const { nodes } = this.visible;
    return this.later('scores', [nodes], { what: 'scores', nodes });
  }

  /** The nodes that a key names: those of a box, of a group, or one. @returns {number[]} */
  membersOf(key) {
    const box = this.circuit.boxes.find((one) => one.key === key);
    if (box) return box.members;
    if (key.startsWith('g:')) return this.groups.find((group) => group.key === key)?.members ?? [];
    if (key.startsWith('w:')) {
      const { graph, document } = this.page;
      const [start, stop] = document.words.find(([at]) => `w:${at}` === key) ?? [0, 0];
      return graph.ids.flatMap((_, i) => (graph.kind[i] === 3 && graph.position[i] >= start && graph.position[i] < stop ? [i] : []));
    }
    const node = this.page.index.get(key);
    return node === undefined ? [] : [node];
  }

  /** What a key is called. */
  nameOf(key) {
    const box = this.circuit.boxes.find((one) => one.key === key);
    if (box) return box.label;
    if (key.startsWith('g:')) return key.slice(2);
    if (key.startsWith('w:')) return this.page.document.words.find(([at]) => `w:${at}` === key)?.[2] ?? key;
    const node = this.page.index.get(key);
    return node === undefined ? key : labelOf(this.page, this.state, node);
  }

  labelOf(node) {
    return labelOf(this.page, this.state, node);
  }

  get selectedNodes() {
    return [...new Set(this.selection.flatMap((key) => this.membersOf(key)))];
  }

  get answers() {
    return this.page.graph.ids.flatMap((_, i) => (this.page.graph.kind[i] === LOGIT ? [i] : []));
  }

  /** The story's document with what the person made of it. */
  get document() {
    return storyOf(this.state, this.story);
  }
}
