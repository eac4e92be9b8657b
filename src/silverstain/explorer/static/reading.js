/**
 * The reading pane: the prompt and its answer, what the picture says in words, how far to trust it, and what is drawn.
 * @module
 */
import { sentences } from './account.js';
import { button, el, fill } from './dom.js';
import { KINDS } from './format.js';
import { beginning } from './legend.js';
import { nextWords } from './next_words.js';
import { filtered } from './state.js';
import { count, percent, several } from './text.js';

const UNIT_LINE = {
  features: 'Each box is a part of the model’s computation: one feature, or a group of features that mean the same. A line is what one box gives to the next.',
  units: 'Each box is a part of the model’s computation: one unit, or a group of units that mean the same. A line is what one box gives to the next.',
};

const MOST_SENTENCES = 24; // nobody reads two hundred

/** @param {HTMLElement} root @param {import('./store.js').Store} store */
export function readingPane(root, store, ui) {
  const prompt = el('section.prompt');
  const account = el('section.account');
  const trust = el('section.trust');
  const drawn = el('section.controls');
  const first = el('section.first');
  root.append(prompt, first, account, trust, drawn);
  fill(prompt, ...promptParts(store), ui.canRun && !store.page.document.contrast ? nextWords(store, ui) : '');
  const controls = controlsOf(store, ui);
  let isLong = false;
  let toldBefore = '';
  /** The sentences are made again only where they say something else, as is rare of one pin more. */
  const tell = () => {
    const { boxes } = store.circuit;
    const told = sentences(store.circuit, isLong ? Infinity : MOST_SENTENCES);
    const said = JSON.stringify([isLong, isMore(boxes), told.map((parts) => parts.map((part) => (typeof part === 'string' ? part : [boxes[part.box].key, boxes[part.box].label])))]);
    if (said !== toldBefore) fill(account, ...accountParts(store, told, isLong, () => ((isLong = true), tell())));
    toldBefore = said;
  };
  fill(drawn, ...controls.parts);
  return (what) => {
    if (what === 'answer') fill(trust, ...trustParts(store));
    if (what === 'state') {
      tell();
      fill(first, ...(['circuit', 'flow'].includes(store.state.view) ? beginning(store, ui) : []));
      controls.update();
      fill(trust, ...trustParts(store));
    }
    const marked = new Set([...store.selection, store.hovered]);
    for (const node of root.querySelectorAll('[data-key]')) node.classList.toggle('is-marked', marked.has(node.getAttribute('data-key')));
  };
}

function promptParts(store) {
  const { document } = store.page;
  if (document.contrast) return contrastParts(document);
  const [answer, ...others] = document.targets;
  const parts = [el('h2', {}, 'The model reads'), el('p.text', { lang: '' }, ...wordsOf(store))];
  if (!answer) return parts;
  const answerKey = store.page.graph.ids[store.answers[0]];
  parts.push(el('h2', {}, document.targets.length > 1 && answer.probability === null ? 'What is explained' : 'and answers'));
  parts.push(
    el('p.answer', {}, reference(store, answerKey, answer.name.trim() || answer.name), answer.probability === null ? '' : el('span.figure', {}, percent(answer.probability, 1))),
  );
  if (answer.probability !== null) parts.push(el('div.gauge.is-answer', { 'aria-hidden': 'true' }, el('i', { style: { width: percent(answer.probability, 1).replace(' ', '') } })));
  if (others.length) {
    const listed = others.slice(0, 4).map((one) => `${one.name.trim()} ${percent(one.probability, 1)}`).join(' · ');
    parts.push(el('p.quiet', {}, `also explained: ${listed}${others.length > 4 ? ' …' : ''}`));
  }
  return parts;
}

function contrastParts(document) {
  const sides = document.contrast.sides.flatMap((side) => [
    el('h2', {}, side.name === 'base' ? 'One prompt' : 'The other'),
    el('p.text', { lang: '' }, ...side.pieces.map(([text, isChanged]) => (isChanged ? el('mark', {}, text) : text))),
    el('p.answer.small', {}, `→ ${side.answer}`),
  ]);
  return [...sides, el('h2', {}, 'What is explained'), el('p', {}, document.contrast.explained)];
}

/** The prompt, each word shaded by its share of the influence. */
function wordsOf(store) {
  const { document, known } = store.page;
  const shares = document.words.map(([start]) => store.membersOf(`w:${start}`).reduce((sum, node) => sum + known.reached[node], 0));
  const most = Math.max(...shares, Number.MIN_VALUE);
  return document.words.flatMap(([start, , text], i) => {
    const strength = Math.round(100 * Math.sqrt(shares[i] / most));
    const isAdded = i === 0 && !document.prompt.startsWith(text.trim()); // a token that opens every prompt
    const word = button(text.trim() || text, () => store.select([`w:${start}`]), {
      class: isAdded ? 'word.is-added' : 'word', 'data-key': `w:${start}`, title: `${isAdded ? 'a token that opens every prompt; ' : ''}${percent(known.total ? shares[i] / known.total : 0, 1)} of the influence`, style: { '--strength': `${strength}%` },
    });
    hovers(word, store, `w:${start}`);
    return [word, ' '];
  });
}

function hovers(node, store, key) {
  node.addEventListener('pointerenter', () => store.hover(key));
  node.addEventListener('pointerleave', () => store.hover(''));
}

/** A phrase that names a box, and selects it. */
function reference(store, key, text) {
  const link = button(text, () => store.select([key]), { class: 'reference', 'data-key': key });
  hovers(link, store, key);
  return link;
}

/** Whether there are more boxes than are told of. */
const isMore = (boxes) => boxes.filter((box) => !['token', 'logit', 'error'].includes(box.kind)).length > MOST_SENTENCES;

function accountParts(store, told, isLong, grow) {
  const { circuit, page } = store;
  const line = UNIT_LINE[page.document.is_rest ? 'units' : 'features'];
  const items = told.map((parts) =>
    el('li', {}, ...parts.map((part) => (typeof part === 'string' ? part.replace(/^(?=[,.])/, '\u2060') : reference(store, circuit.boxes[part.box].key, circuit.boxes[part.box].label)))),
  );
  return [el('h2', {}, 'How it got there'), el('p.quiet', {}, line), items.length ? el('ol.steps', {}, ...items) : el('p.quiet', {}, 'No box has a strong input: the computation is spread over many small parts.'),
    !isLong && isMore(circuit.boxes) ? button(`Of all boxes, not of the ${MOST_SENTENCES} strongest only`, grow, { class: 'link', 'data-focus': 'all-sentences' }) : ''];
}

function trustParts(store) {
  const { trust, scores } = store.page.document;
  const now = store.scores?.replacement ?? null;
  const gauge = (name, value, meaning) =>
    el('div.row', { title: meaning, 'aria-busy': String(name === 'what is drawn' && store.isWaiting('scores')) }, el('span', {}, name), el('div.gauge', { 'aria-hidden': 'true' }, el('i', { style: { width: `${100 * (value ?? 0)}%` } })), el('span.figure', {}, value === null ? '–' : percent(value)));
  const through = scores.replacement === null ? 'not known' : percent(1 - scores.replacement, 1);
  return [
    el('h2', {}, 'How far to trust it'),
    el(`p.verdict.${trust.level}`, {}, ...plainFirst(trust.line.replace('drawn here', 'in this graph'))),
    gauge('whole graph', scores.replacement, `Replacement score: of the influence on the answer, ${through} passes through errors, which nobody has explained`),
    gauge('what is drawn', now, 'The same score, where every node that is not drawn counts as error'),
    el('p.quiet', {}, 'Share of the influence that is explained. It follows what you pin, group and hide.'),
  ];
}

/** “Replacement .92, completeness .96: most of …” with the figures behind what they mean. */
function plainFirst(line) {
  const [figures, ...meaning] = line.split(': ');
  if (!figures.startsWith('Replacement .') || !meaning.length) return [line];
  const said = meaning.join(': ');
  return [`${said[0].toUpperCase()}${said.slice(1)} `, el('span.quiet', {}, `(${figures.toLowerCase()})`)];
}

/** Sliders and filters; they follow the state. */
function controlsOf(store, ui) {
  const slider = (name, label, { min, max, step, text, kind, set, get }) => {
    const figure = el('output.figure', { for: name });
    const input = el('input', {
      type: 'range', id: name, min: String(min), max: String(max), step: String(step), 'data-focus': name,
      oninput: () => store.apply(set(store.state, Number(input.value)), label, kind),
    });
    const update = () => {
      input.value = String(get(store.state));
      figure.textContent = text(get(store.state));
      input.setAttribute('aria-valuetext', figure.textContent);
    };
    return { node: el('label.slider', { for: name }, el('span', {}, label), figure, input), update };
  };
  const boxes = slider('boxes', 'boxes', { min: 1, max: 40, step: 1, kind: 'boxes', text: (n) => `at most ${n}`, get: (s) => s.boxes, set: (s, boxes) => ({ ...s, boxes }) });
  const nodes = slider('node-share', 'nodes', { min: 0.05, max: 1, step: 0.01, kind: 'nodes', text: (p) => `strongest ${Math.round(100 * p)} %`, get: (s) => s.nodeShare, set: (s, nodeShare) => ({ ...s, nodeShare }) });
  const edges = slider('edge-share', 'edges', { min: 0.05, max: 1, step: 0.01, kind: 'edges', text: (p) => `strongest ${Math.round(100 * p)} %`, get: (s) => s.edgeShare, set: (s, edgeShare) => ({ ...s, edgeShare }) });
  const filter = el('details.filters', {}, el('summary', {}, 'Filters'), el('div.inside'));
  const present = new Set(store.page.graph.kind);
  const update = () => {
    const isFlow = store.state.view === 'flow';
    boxes.node.hidden = isFlow;
    nodes.node.hidden = edges.node.hidden = filter.hidden = !isFlow;
    for (const one of [boxes, nodes, edges]) one.update();
    fill(filter.querySelector('.inside'), ...filterParts(store, present));
    const { hidden } = store.state;
    const n = Object.keys(hidden).length;
    fill(byHand, n ? `${several(n, 'thing')} hidden by hand. ` : '', n ? button('Show', () => ui.run('unhide'), { class: 'link', 'data-focus': 'unhide' }) : '');
  };
  const byHand = el('p.quiet');
  return { parts: [el('h2', {}, 'What is drawn'), boxes.node, nodes.node, edges.node, filter, byHand], update };
}

const KIND_NAMES = { feature: 'features', attention: 'attention', error: 'errors', token: 'words', bias: 'biases', logit: 'answers' };

function filterParts(store, present) {
  const { filters } = store.state;
  const { document, graph } = store.page;
  const set = (changes) => store.apply(filtered(store.state, changes), 'filter', `filter ${Object.keys(changes)}`);
  const kinds = KINDS.filter((_, code) => present.has(code)).map((kind) =>
    el('label.chip', {}, el('input', { type: 'checkbox', checked: filters.kinds.includes(kind), 'data-focus': `kind-${kind}`, onchange: () => set({ kinds: filters.kinds.includes(kind) ? filters.kinds.filter((one) => one !== kind) : [...filters.kinds, kind] }) }), document.is_rest && kind === 'error' ? 'the rest' : KIND_NAMES[kind]),
  );
  const range = (name, field, last) => {
    const [low, high] = filters[field] ?? [0, last];
    const put = (pair) => set({ [field]: pair[0] <= 0 && pair[1] >= last ? null : pair });
    const number = (value, label, change) =>
      el('input.number', { type: 'number', min: '0', max: String(last), value: String(value), 'aria-label': `${label} of ${name}`, 'data-focus': `${field}-${label}`, onchange: (event) => change(Math.min(last, Math.max(0, Math.round(Number(event.target.value) || 0)))) });
    return el('div.row', {}, el('span', {}, name), number(low, 'first', (v) => put([v, Math.max(v, high)])), '–', number(high, 'last', (v) => put([Math.min(low, v), v])));
  };
  const signs = [[0, 'all'], [1, 'raise the answer'], [-1, 'lower it']].map(([sign, text]) =>
    el('label.chip', {}, el('input', { type: 'radio', name: 'sign', checked: filters.sign === sign, 'data-focus': `sign-${sign}`, onchange: () => set({ sign }) }), text),
  );
  const text = el('input.text', { type: 'search', value: filters.text, placeholder: 'only those called …', 'aria-label': 'only features called', 'data-focus': 'filter-text', onchange: (event) => set({ text: event.target.value }) });
  return [
    el('div.chips', { role: 'group', 'aria-label': 'kinds of nodes' }, ...kinds),
    el('div.chips', { role: 'group', 'aria-label': 'which way they move the answer' }, ...signs),
    range('layers', 'layers', Math.max(graph.nLayers - 1, 0)),
    range('positions', 'positions', Math.max(document.tokens.length - 1, 0)),
    text,
    el('label.chip', {}, el('input', { type: 'checkbox', checked: filters.pruned, 'data-focus': 'pruned', onchange: () => set({ pruned: !filters.pruned }) }), 'only what pruning keeps: no dead ends'),
    el('p.quiet', {}, `${count(graph.nEdges)} edges in the file`),
  ];
}
