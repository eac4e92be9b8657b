/**
 * The bar above: what is open, which view, search, undo, files, help; and the line below that counts what is drawn.
 * @module
 */
import { counted } from './account.js';
import { COMMANDS, keyName } from './commands.js';
import { button, el, fill } from './dom.js';
import { count, percent, several } from './text.js';

const VIEWS = [['circuit', 'Circuit'], ['flow', 'Flow'], ['matrix', 'Matrix'], ['table', 'Table'], ['contrast', 'Contrast'], ['lens', 'Lens'], ['compare', 'Compare']];
const NEEDS_SERVER = ['lens', 'compare'];
const FILES = ['story', 'open', 'tags', 'svg', 'png', 'print', 'markdown', 'csv', 'link', 'reset'];
const FILE_NAMES = { story: 'Save your story (JSON)', open: 'Open a story or a graph …', tags: 'Tag this graph …', svg: 'Picture as SVG', png: 'Picture as PNG', print: 'Print, or save as PDF …', markdown: 'Account as Markdown', csv: 'Nodes as CSV', link: 'Copy a link to this view', reset: 'Begin again' };

const commandNamed = (id) => COMMANDS.find((one) => one.id === id);

/** @param {HTMLElement} root @param {import('./store.js').Store} store */
export function header(root, store, ui) {
  const { document } = store.page;
  const views = el('div.views', { role: 'radiogroup', 'aria-label': 'view' },
    ...VIEWS.filter(([id]) => (commandNamed(id).can?.(store) ?? true) && (ui.canRun || !NEEDS_SERVER.includes(id))).map(([id, title]) => button(title, () => ui.run(id), { role: 'radio', 'data-view': id, title: `${title} (${keyName(commandNamed(id).keys[0])})` })));
  const tool = (id, text, label) => button(text, () => ui.run(id), { class: 'tool', 'data-tool': id, 'aria-label': label, title: `${label} (${keyName(COMMANDS.find((one) => one.id === id).keys[0], ui.isMac)})` });
  const menu = el('details.menu', {}, el('summary', {}, 'Save & export'),
    el('div.items', { role: 'menu' }, ...FILES.map((id) => button(FILE_NAMES[id], () => ((menu.open = false), ui.run(id)), { role: 'menuitem' })), ...(ui.pageLink ? [el('a', { role: 'menuitem', href: ui.pageLink, download: '' }, 'This page as one HTML file'), el('a', { role: 'menuitem', href: ui.pageLink.replace('/api/page', '/api/json'), download: '' }, 'Graph as JSON, for circuit-tracer and Neuronpedia')] : [])));
  menu.addEventListener('focusout', (event) => !menu.contains(event.relatedTarget) && (menu.open = false));
  menu.addEventListener('keydown', (event) => event.key === 'Escape' && ((menu.open = false), menu.querySelector('summary').focus()));
  root.append(
    el('div.brand', {}, ui.home ? el('a', { href: ui.home, title: 'All graphs of this folder' }, mark(), 'Silverstain') : el('span', {}, mark(), 'Silverstain'), el('span.file', {}, document.name)),
    views,
    el('div.tools', {},
      button('', () => ui.run('search'), { class: 'find', title: 'Search for a word, a feature, a group' }),
      button('Lab', () => ui.run('lab'), { class: 'tool', 'data-tool': 'lab', 'aria-pressed': 'false', title: 'Lab: change a part of the running model and see whether the answer follows (L)' }), tool('undo', '↶', 'Undo'), tool('redo', '↷', 'Redo'), menu, tool('palette', ui.isMac ? '⌘K' : 'Ctrl K', `${ui.isMac ? '⌘K' : 'Ctrl K'}: all commands`), tool('help', '?', 'How to read this, and all keys')),
  );
  fill(root.querySelector('.find'), el('span', {}, 'Search'), el('kbd', {}, '/'));
  return () => {
    for (const node of views.children) node.setAttribute('aria-checked', String(node.getAttribute('data-view') === store.state.view));
    const { past, future } = store.history;
    for (const [id, steps] of [['undo', past], ['redo', future]]) root.querySelector(`[data-tool=${id}]`).toggleAttribute('disabled', !steps.length);
  };
}

const mark = () => el('i.mark', { 'aria-hidden': 'true' });

/** The counter: always seen, and with the reason why the others are not drawn. */
export function counter(root, store, ui) {
  const line = el('button.counter', { type: 'button', 'aria-expanded': 'false', onclick: () => toggle() });
  const why = el('div.why', { hidden: true, role: 'dialog', 'aria-label': 'why the other nodes are not drawn' });
  const edges = el('span.edges');
  root.append(why, line, edges);
  const toggle = (open = why.hidden) => {
    why.hidden = !open;
    line.setAttribute('aria-expanded', String(open));
    if (open) fill(why, ...reasons());
  };
  root.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !why.hidden) {
      event.stopPropagation();
      toggle(false);
      line.focus();
    }
  });
  const reasons = () => [
    el('h2', {}, 'Why the others are not drawn'),
    el('ul', {}, ...store.visible.reasons.map((one) => el('li', {}, el('b.figure', {}, count(one.nodes)), el('span', {}, one.why), el('span.figure', {}, one.share > 0 ? percent(one.share, 1) : '0 %')))),
    el('p.quiet', {}, 'The last column is the influence that passes through them.'),
    store.visible.reasons.length ? button('Draw more', () => ui.run('more'), { class: 'link', 'data-focus': 'draw-more' }) : '',
  ];
  return () => {
    const { visible } = store;
    const hidden = visible.total - visible.drawn;
    fill(line, el('b', {}, counted(visible)), hidden ? el('span', {}, ` · why are ${count(hidden)} hidden?`) : el('span', {}, ' · all of them'));
    if (!why.hidden) fill(why, ...reasons());
    const { between, wanted, edges: drawn } = store.state.view === 'flow' ? store.edges : { between: 0, wanted: 0, edges: store.circuit.edges };
    const { nWhole, nEdges } = store.page.graph;
    if (nWhole) edges.title = `The page was given the strongest ${count(nEdges)} of ${count(nWhole)} edges; what the others make of each target is counted.`;
    edges.textContent = store.state.view === 'flow'
      ? `${count(drawn.length)} of ${several(between, 'edge')} between them${wanted > drawn.length ? ': more cannot be told apart' : ''}`
      : `${several(drawn.length, 'line')} of ${several(nWhole || nEdges, 'edge')}${nWhole ? `, the strongest ${count(nEdges)} here` : ''}`;
  };
}
