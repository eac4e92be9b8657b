/**
 * What opens above the page: the palette that finds commands and nodes, the list of keys, and a question for a reason.
 * @module
 */
import { COMMANDS, keyName } from './commands.js';
import { button, el, fill } from './dom.js';
import { isUnit, LOGIT, TOKEN } from './format.js';
import { found } from './search.js';
import { percent } from './text.js';

/** A dialog that the browser itself keeps the focus in, and that Escape closes. */
function dialog(kind, label, ui) {
  const node = el(`dialog.${kind}`, { 'aria-label': label });
  node.addEventListener('click', (event) => event.target === node && shut(node, ui));
  node.addEventListener('keydown', (event) => {
    event.stopPropagation();
    if (event.key !== 'Escape') return;
    event.preventDefault();
    shut(node, ui);
  });
  document.body.append(node);
  return node;
}

/**
 * Close a dialog. Where nothing had the focus before, the browser leaves it in the closed dialog until the next frame, and
 * a key pressed meanwhile would be lost there: the picture gets it at once.
 */
function shut(node, ui) {
  node.close();
  if (node.contains(document.activeElement) || document.activeElement === document.body) ui.focusStage();
}

/** @param {import('./store.js').Store} store */
export function palette(store, ui) {
  const node = dialog('palette', 'search and commands', ui);
  const input = el('input', { type: 'text', role: 'combobox', 'aria-expanded': 'true', 'aria-controls': 'found', 'aria-autocomplete': 'list', spellcheck: 'false' });
  const listed = el('ul', { id: 'found', role: 'listbox', 'aria-label': 'found' });
  node.append(input, listed);
  let entries = [];
  let at = 0;
  let scope = 'all';

  const run = (entry) => {
    shut(node, ui);
    entry?.run();
  };
  function draw() {
    entries = input.value.trim() ? found(all(scope), input.value, 40) : all(scope).slice(0, 40);
    at = Math.min(at, Math.max(entries.length - 1, 0));
    fill(listed, ...entries.map((entry, i) => el('li', { role: 'option', id: `found-${i}`, 'aria-selected': String(i === at), onclick: () => run(entry), onpointermove: () => i !== at && ((at = i), mark()) }, el('span.what', {}, entry.title), el('span.more', {}, entry.more))));
    if (!entries.length) fill(listed, el('li.none', {}, 'Nothing is called so.'));
    mark();
  }
  function mark() {
    [...listed.children].forEach((item, i) => item.setAttribute('aria-selected', String(i === at)));
    input.setAttribute('aria-activedescendant', entries.length ? `found-${at}` : '');
    listed.children[at]?.scrollIntoView?.({ block: 'nearest' });
  }
  input.addEventListener('input', () => ((at = 0), draw()));
  input.addEventListener('keydown', (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      at = (at + step + entries.length) % Math.max(entries.length, 1);
      mark();
      event.preventDefault();
    } else if (event.key === 'Enter') run(entries[at]);
  });

  function all(of) {
    const commands = COMMANDS.filter((command) => command.can?.(store) ?? true).map((command) => ({
      title: command.title, more: command.keys.map((key) => keyName(key, ui.isMac))[0] ?? '', texts: [command.title], weight: 0, run: () => ui.run(command.id),
    }));
    return of === 'nodes' ? nodes() : input.value.trim() ? [...commands, ...nodes()] : commands;
  }

  const go = (key) => {
    store.select([key]);
    ui.focusStage();
  };

  function nodes() {
    const { graph, known, document: page } = store.page;
    const boxes = store.circuit.boxes.filter((box) => box.kind !== 'error').map((box) => ({ title: box.label, more: box.isGroup ? 'group' : box.kind === 'token' ? 'word' : box.kind === 'logit' ? 'answer' : percent(box.share, 1), texts: [box.label, box.name].filter(Boolean), weight: 1 + box.share, run: () => go(box.key) }));
    const there = new Set(store.circuit.boxes.map((box) => box.key));
    const singles = graph.ids.flatMap((id, i) => {
      if (there.has(id) || !(isUnit(graph, i) || graph.kind[i] === TOKEN || graph.kind[i] === LOGIT)) return [];
      const label = store.labelOf(i);
      const card = page.cards[`${graph.layer[i]}_${graph.feature[i]}`];
      const share = known.total ? known.reached[i] / known.total : 0;
      return [{ title: label, more: `${graph.names[i] === label ? (card ? `${card.label} · ` : '') : `${graph.names[i]} · `}${percent(share, 1)}`, texts: [label, graph.names[i], id, ...(card ? [card.label] : [])], weight: share, run: () => go(id) }];
    });
    return [...boxes, ...singles.sort((a, b) => b.weight - a.weight)];
  }

  return (of = 'all') => {
    scope = of;
    at = 0;
    input.value = '';
    input.placeholder = of === 'nodes' ? 'A word, a feature, a group …' : 'What do you want to do, or find?';
    input.setAttribute('aria-label', input.placeholder);
    draw();
    node.showModal();
    input.focus();
  };
}

/** How to read the picture, and all keys. */
export function help(ui) {
  const node = dialog('help', 'how to read this, and all keys', ui);
  const where = el('p.quiet.where');
  const parts = [...new Set(COMMANDS.map((command) => command.part))];
  const keysOf = (command) => el('span.keys', {}, ...command.keys.filter((key) => !/Shift\+[A-Z]/.test(key)).map((key) => el('kbd', {}, keyName(key, ui.isMac))));
  node.append(
    el('header', {}, el('h1', {}, 'How to read this'), button('Close', () => shut(node, ui), { class: 'tool' })),
    el('div.terms', {},
      term('Attribution graph', 'One answer of a language model, taken apart: each active part of the model is a node, and an edge says how much one part gave to another. All edges into a node add up to its value.'),
      term('Feature', 'A direction in the model that stands for one thing, such as a town or the next word. A group is several features that are read as one.'),
      term('Influence', 'How much of the answer passes through a node, over paths of every length, as a share of all.'),
      term('Share of its input', 'The figure at a line: the part of all that enters the box which comes this way. Below zero it works against it.'),
      term('Errors', 'What the features do not explain of a layer. The more of the influence passes through errors, the less the picture says about the model.'),
      term('Proof', 'A graph is a claim. `silverstain verify` tests it by changing the model and watching the answer.')),
    ...parts.flatMap((part) => [el('h2', {}, part), el('ul.keylist', {}, ...COMMANDS.filter((command) => command.part === part).map((command) => el('li', {}, el('span', {}, command.title), keysOf(command))))]),
    el('p.quiet', {}, 'With the pointer: click selects, Shift-click adds, double-click renames; boxes are dragged; in the circuit a drag from empty space selects an area, in the flow Shift-drag does; the wheel zooms the flow, with Ctrl the circuit.'),
    where,
  );
  return () => {
    where.textContent = ui.engine.where === 'worker' ? 'Sums over the graph are made in a worker beside the page.' : `Sums over the graph are made in the page itself, which is slower on large graphs: ${ui.engine.why}.`;
    node.showModal();
  };
}

const term = (name, meaning) => el('p', {}, el('strong', {}, `${name}. `), ...meaning.split(/(`[^`]+`)/).map((part) => (part.startsWith('`') ? el('code', {}, part.slice(1, -1)) : part)));

const REASONS = ['not relevant', 'always on', 'too many of the same kind', 'shown elsewhere'];

/** Ask why something is hidden; the answer is kept in the story. */
export function reason(ui) {
  const node = dialog('ask', 'why hide it?', ui);
  return (name, then) => {
    const input = el('input', { value: REASONS[0], 'aria-label': 'reason', list: 'reasons', onkeydown: (event) => event.key === 'Enter' && done() });
    const done = () => {
      shut(node, ui);
      then(input.value.trim() || REASONS[0]);
    };
    fill(node, el('h1', {}, `Hide ${name}`), el('p.quiet', {}, 'The reason is counted with what is not drawn, and kept in your story.'), input,
      el('datalist', { id: 'reasons' }, ...REASONS.map((value) => el('option', { value }))),
      el('div.actions', {}, button('Hide', done, { class: 'primary' }), button('Cancel', () => shut(node, ui))));
    node.showModal();
    input.select();
  };
}

/** Ask for the tags of a graph. */
export function question(ui) {
  const node = dialog('ask', 'tags', ui);
  return (value, then) => {
    const input = el('input', { value, 'aria-label': 'tags, with commas between them', placeholder: 'geography, to show', onkeydown: (event) => event.key === 'Enter' && done() });
    const done = () => {
      shut(node, ui);
      then(input.value);
    };
    fill(node, el('h1', {}, 'Tags'), el('p.quiet', {}, 'Words by which the start page finds this graph, with commas between them. They are part of your story: save it to keep them.'), input,
      el('div.actions', {}, button('Tag it', done, { class: 'primary' }), button('Cancel', () => shut(node, ui))));
    node.showModal();
    input.select();
  };
}
