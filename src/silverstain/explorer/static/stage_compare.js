/**
 * The comparison on the page: another graph is chosen, and what both have, or only one, stands in a picture and a table.
 * @module
 */
import { labelOf } from './circuit.js';
import { summed, unionOf } from './comparison.js';
import { button, el, fill } from './dom.js';
import { decoded } from './format.js';
import { analysed } from './influence.js';
import { stateOfStory } from './state.js';
import { brief, count, percent } from './text.js';

const MOST_ROWS = 150;
const SIDES = [['union', 'all of both'], ['shared', 'in both'], ['left', 'only in this one'], ['right', 'only in the other']];
const SIDE = 320;
const PAD = 30;

/** @param {HTMLElement} root @param {import('./store.js').Store} store @param {any} ui */
export function compareStage(root, store, ui) {
  const frame = el('div.stage.compare-stage', { hidden: true });
  root.append(frame);
  /** @type {any[]|null} */
  let graphs = null;
  /** @type {any} */
  let other = null;
  /** @type {any} */
  let figures = null;
  let [side, byPlace, said] = ['union', true, ''];

  async function get(path) {
    const answer = await fetch(path);
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error ?? `the server answered ${answer.status}`);
    return told;
  }

  async function choose(path) {
    said = 'Reading the other graph …';
    other = figures = null;
    draw();
    try {
      const document = await get(`/api/document?graph=${encodeURIComponent(path)}`);
      const graph = decoded(document);
      other = { document, graph, known: analysed(graph), path, state: stateOfStory(document.story) };
      byPlace = JSON.stringify(document.tokens) === JSON.stringify(store.page.document.tokens);
      said = '';
      draw();
      figures = await get(`/api/compare?left=${encodeURIComponent(ui.graphPath)}&right=${encodeURIComponent(path)}`);
    } catch (error) {
      said = error.message;
    }
    draw();
  }

  async function list() {
    graphs = [];
    try {
      graphs = (await get('/api/graphs')).filter((one) => one.path !== ui.graphPath);
    } catch (error) {
      said = error.message;
    }
    draw();
  }

  function draw() {
    if (frame.hidden) return;
    if (!ui.canRun) return fill(frame, el('p.quiet', {}, 'To compare two graphs, open their folder with silverstain explore.'));
    if (!graphs) return void list();
    const chooser = el('label.chooser', {}, el('span', {}, 'with'), el('select', { 'data-focus': 'other', onchange: (event) => event.target.value && choose(event.target.value) },
      el('option', { value: '' }, graphs.length ? 'choose a graph of this folder' : 'there is no other graph in this folder'), ...graphs.map((one) => el('option', { value: one.path, selected: other?.path === one.path }, `${one.prompt} → ${one.answer} (${one.path})`))));
    const head = [el('h2', {}, 'Compare this graph'), chooser, el('p.quiet', { role: 'status' }, said || (other ? '' : 'Another prompt, another model of the same kind, or the same prompt with another budget: what do they share?'))];
    if (!other) return fill(frame, ...head);
    const nameOf = (page, node) => (page === store.page ? store.labelOf(node) : labelOf(page, page.state, node));
    const parts = unionOf(store.page, other, { byPlace, nameOf });
    const sums = summed(parts);
    const shown = parts.filter((part) => side === 'union' || part.side === side);
    const chips = SIDES.map(([id, text]) => button(`${text}${id === 'union' ? '' : ` ${count(sums[id].n)}`}`, () => ((side = id), draw()), { 'aria-pressed': String(side === id), 'data-focus': `side-${id}` }));
    const places = el('label.chip', {}, el('input', { type: 'checkbox', checked: byPlace, 'data-focus': 'by-place', onchange: (event) => ((byPlace = event.target.checked), draw()) }), 'the same feature at another word is another one');
    const isOther = (store.page.document.model || '') !== (other.document.model || '') || (store.page.document.dictionary || '') !== (other.document.dictionary || '');
    const warning = isOther ? el('p.verdict.partial', {}, `The other graph is of ${[other.document.model, other.document.dictionary].filter(Boolean).join(' with ') || 'another model'}: features of the same number are not the same there; only words can be compared.`) : '';
    const line = `What both have carries ${percent(sums.shared.left)} of the influence here and ${percent(sums.shared.right)} there.`;
    const agree = figures ? [figures.edges?.cosine === null || figures.edges?.cosine === undefined ? '' : ` Shared edges point the same way: cosine ${brief(figures.edges.cosine)}.`, figures.activations?.correlation === null || figures.activations?.correlation === undefined ? '' : ` Activations correlate by ${brief(figures.activations.correlation)}.`].join('') : '';
    fill(frame, ...head, warning, el('p', {}, el('b', {}, line), agree), el('div.actions', { role: 'group', 'aria-label': 'which part' }, ...chips, places),
      el('div.columns', {}, table(shown), el('div', {}, picture(shown))));
    return mark();
  }

  function table(parts) {
    const rows = parts.slice(0, MOST_ROWS).map((part) => el('tr', { 'data-key': part.nodes.length ? store.page.graph.ids[part.nodes[0]] : '' },
      el('th', { scope: 'row' }, part.nodes.length ? button(part.name, () => store.select(part.nodes.map((node) => store.page.graph.ids[node])), { class: 'reference', 'data-focus': `part-${part.key}` }) : part.name),
      el('td', {}, { shared: 'both', left: 'only here', right: 'only there' }[part.side]),
      el('td.figure', {}, part.side === 'right' ? '' : percent(part.left, 1)), el('td.figure', {}, part.side === 'left' ? '' : percent(part.right, 1))));
    return el('table', {}, el('caption', {}, `The largest differences first${parts.length > MOST_ROWS ? `, ${MOST_ROWS} of ${count(parts.length)}` : ''}`), el('thead', {}, el('tr', {}, ...['what', 'where', 'influence here', 'there'].map((name) => el('th', { scope: 'col' }, name)))), el('tbody', {}, ...rows));
  }

  /** Influence here to the right, there upwards; on the diagonal both are alike. */
  function picture(parts) {
    const SVG = 'http://www.w3.org/2000/svg';
    const svg = document.createElementNS(SVG, 'svg');
    const put = (tag, attributes, text = '') => {
      const node = document.createElementNS(SVG, tag);
      for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
      if (text) node.textContent = text;
      svg.append(node);
      return node;
    };
    for (const [key, value] of Object.entries({ width: SIDE, height: SIDE, viewBox: `0 0 ${SIDE} ${SIDE}`, class: 'scatter union', role: 'img', 'aria-label': `influence of ${parts.length} parts in both graphs` })) svg.setAttribute(key, String(value));
    const least = 1e-4;
    const at = (share) => PAD + (Math.log(Math.max(share, least) / least) / Math.log(1 / least)) * (SIDE - PAD - 10);
    put('path', { class: 'axis', d: `M${PAD} ${SIDE - PAD}H${SIDE - 8}M${PAD} ${SIDE - PAD}V8` });
    put('path', { class: 'diagonal', d: `M${PAD} ${SIDE - PAD}L${SIDE - 10} 10` });
    for (const part of parts) {
      const [x, y] = [at(part.left), SIDE - at(part.right)];
      const shape = part.side === 'shared' ? put('circle', { cx: x, cy: y, r: 3.5, class: `of-${part.side}` }) : put('rect', { x: x - 3, y: y - 3, width: 6, height: 6, class: `of-${part.side}` });
      const title = document.createElementNS(SVG, 'title');
      title.textContent = `${part.name}: ${percent(part.left, 1) || '0 %'} here, ${percent(part.right, 1) || '0 %'} there`;
      shape.append(title);
      if (part.nodes.length) shape.addEventListener('click', () => store.select(part.nodes.map((node) => store.page.graph.ids[node])));
    }
    put('text', { x: SIDE - 8, y: SIDE - PAD + 16, 'text-anchor': 'end' }, 'influence here');
    put('text', { x: PAD + 4, y: 14 }, 'there');
    return svg;
  }

  function mark() {
    for (const node of frame.querySelectorAll('tr[data-key]')) node.classList.toggle('is-selected', store.selection.includes(node.getAttribute('data-key')));
  }

  return { frame, draw, mark, zoom: () => undefined, fit: () => undefined, focus: () => frame.querySelector('select')?.focus({ preventScroll: true }), row: () => [] };
}
