/**
 * What the inspector says while nothing is selected: how to read the picture, and what to try.
 * @module
 */
import { button, el } from './dom.js';
import { isRest, isUnit } from './format.js';
import { glyphOf, outline } from './glyphs.js';

const SVG = 'http://www.w3.org/2000/svg';
function drawing(width, height, parts) {
  const svg = document.createElementNS(SVG, 'svg');
  for (const [key, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' })) svg.setAttribute(key, String(value));
  for (const [tag, attributes] of parts) {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    svg.append(node);
  }
  return svg;
}

const VIEWS = {
  matrix: ['A row takes, a column gives: the figure is the share of the row’s input that comes from the column. What the drawing leaves out for want of room is here, too.', 'Blue raises; striped lowers. Click a figure to select both ends.'],
  table: ['The same boxes as in the circuit, a row each. Click a heading to sort.'],
  contrast: ['Two prompts that differ in a word, and the model’s two answers. Parts of the second run are put into the first: if few of them turn the answer, they are what makes the difference.', 'The solid line should rise far above the dotted one: that is as many parts chosen at random.'],
  lens: ['Read a column from the bottom up: what the model would say after each layer, were it read there. Most columns change their mind several times before the top.', 'Click a token to follow it: # is its rank among all words the model knows.'],
  compare: ['A dot is a part that both graphs have, a square one that only one has. On the diagonal it matters as much here as there.'],
};

/** How to read the view that is shown, and what to try. */
export function legend(store, ui) {
  const { document, graph, known } = store.page;
  const about = () => el('p.quiet', {}, [document.model, document.dictionary].filter(Boolean).join(' · '), document.exactness === null ? '' : ` · edges add up to ${document.exactness.toExponential(0)}`);
  const item = (figure, ...text) => el('li', {}, figure, el('span', {}, ...text));
  const sign = (kind, dash, tip) => drawing(54, 16, [['path', { d: 'M2 8H44', stroke: `var(--${kind})`, 'stroke-width': '3', ...dash }], ['path', { d: tip, fill: `var(--${kind})` }]]);
  const shape = (node) => {
    const { shape: form, colour, isHollow } = glyphOf(graph, known, node);
    return drawing(54, 16, [['path', { d: outline(form, 27, 8, 5), fill: isHollow ? 'none' : `var(--${colour})`, stroke: `var(--${colour})`, 'stroke-width': '1.6' }]]);
  };
  const first = (test) => graph.ids.findIndex((_, i) => test(i));
  const samples = [
    [first((i) => isUnit(graph, i) && known.added[i] > 0), `a ${document.is_rest ? 'unit' : 'feature'} that raises the answer; its area is its share of the influence`],
    [first((i) => isUnit(graph, i) && known.added[i] < 0), 'hollow: it lowers the answer'],
    [first((i) => graph.kind[i] === 1 && isUnit(graph, i)), 'attention of one head from one position to another'],
    [first((i) => isRest(graph, i)), document.is_rest ? 'all else of its layer and position' : 'error: what the dictionary does not explain there'],
  ];
  const arrows = [
    item(sign('raises', {}, 'M54 8L44 3V13Z'), 'raises what it points at'),
    item(sign('lowers', { 'stroke-dasharray': '7 4' }, 'M44 1h3v14h-3z'), 'lowers it: dashed, with a bar at its end'),
  ];
  const inCircuit = [...arrows, item(el('b.figure', {}, '+0.53'), 'share of the box’s input that comes this way'), item(el('b.figure', {}, '37 %'), 'share of the influence on the answer that passes through a box')];
  const inFlow = [...samples.filter(([node]) => node >= 0).map(([node, text]) => item(shape(node), text)), ...arrows];
  const isFlow = store.state.view === 'flow';
  if (VIEWS[store.state.view]) return [el('header', {}, el('h1', {}, 'How to read this')), ...VIEWS[store.state.view].map((text) => el('p.reading', {}, text)), about()];
  const start = beginning(store, ui);
  const key = (name, text) => el('li', {}, el('kbd', {}, name), el('span', {}, text));
  return [
    el('header', {}, el('h1', {}, 'How to read this')),
    el('p', {}, isFlow
      ? 'Words stand at the bottom, the answer at the top, the layers of the model in between. Every mark is one active part of the model at one word; lines are what it gives to others.'
      : 'Read from the bottom up: the words of the prompt, what the model makes of them, and its answer at the top.'),
    el('ul.legend', {}, ...(isFlow ? inFlow : inCircuit)),
    ...start,
    el('h2', {}, 'Also'),
    el('ul.legend', {},
      key('click', isFlow ? 'a mark: what drives it, and what it drives' : 'a box: what drives it, what it drives, what is in it'),
      key('drag', isFlow ? 'to move; with Shift, to select an area' : 'a box to move it; from empty space, to select several'),
      key('↑ ↓', 'walk along the strongest lines'),
      key('G', 'make one group of what is selected'),
      key('L', 'the lab: change it in the running model'),
      key('/', 'find a word, a feature, a group'),
      key(ui.isMac ? '⌘Z' : 'Ctrl Z', 'undo anything'),
      key('?', 'all keys')),
    about(),
  ];
}

/** The box with which to begin: the strongest. */
export const beginsWith = (store) => store.circuit.boxes.filter((box) => !['token', 'logit', 'error'].includes(box.kind)).reduce((best, box) => (best && best.share >= box.share ? best : box), null);

/** What to do first, with the strongest box by its name: look at it, change it in the model, look closer. */
export function beginning(store, ui) {
  const strongest = beginsWith(store);
  if (!strongest) return [];
  const link = (text, act, name) => button(text, act, { class: 'reference', 'data-focus': `begin-${name}` });
  const see = () => store.select([strongest.key]);
  const steps = [
    ['Look at the strongest part: ', button(strongest.label, see, { class: 'reference', 'data-key': strongest.key, 'data-focus': 'begin-see' }), '.'],
    testing(store, ui, link, see),
    closer(store, ui, link),
  ];
  return [el('h2', {}, 'Begin here'), el('ol.begin', {}, ...steps.map((parts) => el('li', {}, ...parts)))];
}

function testing(store, ui, link, see) {
  const test = () => (see(), ui.test());
  if (!ui.canRun) return ['Is it so? ', link('The lab', () => ui.run('lab'), 'test'), ' shows what was changed in the model to test it, and what it then said.'];
  if (store.page.document.contrast) return ['Is it so? ', link('Take it from the other prompt', test, 'test'), ' in the running model, and see whether the answer turns.'];
  return ['Is it so? ', link('Switch it off', test, 'test'), ' in the running model, and see whether the answer changes.'];
}

function closer(store, ui, link) {
  if (store.state.view === 'flow') return ['Step back: the ', link('circuit', () => ui.run('circuit'), 'view'), ' shows what belongs together as one box.'];
  if (store.page.document.contrast) return ['How few parts turn the answer? The ', link('contrast', () => ui.run('contrast'), 'view'), ' counts them, beside as many at random.'];
  return ['Look closer: the ', link('flow', () => ui.run('flow'), 'view'), ' shows every single part, layer by layer.'];
}
