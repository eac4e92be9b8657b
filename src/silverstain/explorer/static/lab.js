/**
 * The lab: parts of the running model are changed, and what it says then stands beside what it said. What came of it is
 * kept in the story as evidence. Without a server it shows the experiments that the story keeps.
 * @module
 */
import { phaseOf, work } from './ask.js';
import { button, el, fill } from './dom.js';
import { againOf, askedOf, experimentsIn, inWords, operationsFor, outcomeOf, problemWith, takesFromOther, titleOfEvidence, valueFor } from './experiments.js';
import { ATTENTION, ERROR, FEATURE, TOKEN } from './format.js';
import { resultParts } from './lab_result.js';
import { withEvidence, withoutEvidence } from './state.js';
import { several } from './text.js';

const CHANGEABLE = [FEATURE, ATTENTION, ERROR, TOKEN];

/** @param {HTMLElement} root @param {import('./store.js').Store} store @param {any} ui */
export function lab(root, store, ui) {
  const { document: page, graph } = store.page;
  const isContrast = Boolean(page.contrast);
  const settings = { run: isContrast ? 'base' : 'contrast', donor: '', attention: 'live', tokens: 12, temperature: 0, seed: 0, control: true };
  /** @type {import('./experiments.js').Edit[]} */
  let edits = [];
  /** @type {AbortController|null} */
  let running = null;
  let said = '';
  let isError = false;
  /** @type {any} */
  let shown = null;
  let isTall = false;

  const form = el('div.form');
  const result = el('div.result', { 'aria-live': 'polite' });
  const kept = el('div.kept');
  const head = el('header', {}, el('h2', {}, 'Lab'), el('span.quiet', {}, 'Change a part of the running model and see whether the answer follows.'),
    el('span.fill'), button('⤢', () => ((isTall = !isTall), root.classList.toggle('is-tall', isTall)), { class: 'tool', 'aria-label': 'larger or smaller', title: 'larger or smaller' }), button('✕', () => ui.run('lab'), { class: 'tool', 'aria-label': 'Close the lab', title: 'Close the lab (L)' }));
  root.append(head, el('div.bench', {}, form, result, kept));
  root.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !running) ui.run('lab');
    else if (event.key === 'Escape') running?.abort();
    else if (event.key !== 'Enter' || !(/** @type {any} */ (event.target).matches('input'))) return;
    else go();
    event.preventDefault();
    event.stopPropagation();
  });

  /** What is selected, as edits: a box or group as one, an edge between two as one. */
  function add(/** @type {'nodes'|'edge'|'position'} */ what = 'nodes') {
    if (what === 'edge') {
      const [a, b] = store.selection.map((key) => store.membersOf(key)[0]);
      edits.push({ op: 'ablate', what, nodes: [a, b].map((node) => graph.ids[node]), value: null, name: `${store.nameOf(store.selection[0])} → ${store.nameOf(store.selection[1])}` });
    } else if (what === 'position') {
      const position = positionOf();
      edits.push({ op: 'patch', what, nodes: [], position, value: 1, name: `everything at “${word(position)}”` });
    } else {
      for (const key of store.selection) {
        const nodes = store.membersOf(key).filter((node) => CHANGEABLE.includes(graph.kind[node]));
        if (nodes.length) edits.push({ op: isContrast ? 'patch' : 'ablate', what, nodes: nodes.map((node) => graph.ids[node]), value: isContrast ? 1 : null, name: store.nameOf(key) });
      }
    }
    draw();
  }

  const word = (position) => String(page.tokens[position] ?? '').trim();
  const positionOf = () => {
    const at = store.selectedNodes.map((node) => graph.position[node]).filter((p) => p >= 0);
    return at.length ? Math.max(...at) : page.tokens.length - 1;
  };

  async function go(asked = null, name = '') {
    const wanted = asked ?? askedOf(ui.graphPath, edits, settings);
    const problem = asked ? '' : problemWith(edits, settings.donor, isContrast);
    if (problem || !ui.canRun) {
      [said, isError] = [problem || 'The lab needs the model: open this graph with `silverstain explore`.', true];
      return draw();
    }
    running?.abort();
    const mine = new AbortController();
    running = mine;
    [said, isError, shown] = ['asking the server', false, { name: name || edits.map(inWords).join(', ') }];
    draw();
    try {
      const { evidence } = await work('experiment', { ...wanted, graph: ui.graphPath }, { signal: mine.signal, onEvent: (event) => running === mine && hear(event) });
      shown = { ...evidence, name: shown.name, ...(asked ? {} : { names: edits.map((edit) => edit.name) }) };
      store.apply(withEvidence(store.state, shown), 'an experiment');
      said = 'Kept in your story.';
      ui.say(`${shown.name}: ${outcomeOf(shown)}`);
    } catch (error) {
      if (running !== mine) return undefined;
      isError = error.name !== 'AbortError' && error.message !== 'cancelled';
      said = isError ? error.message : 'Cancelled; nothing was kept.';
      if (isError) shown = null;
    }
    running = null;
    return draw();
  }

  function hear(event) {
    if (event.event === 'answers') shown = { ...shown, ...event };
    if (event.event === 'compared') shown = { ...shown, compared: event };
    if (event.event === 'text') shown = { ...shown, generated: { ...shown.generated, [event.side]: event.text } };
    said = phaseOf(event, said);
    drawStatus();
    if (event.event !== 'phase' && event.event !== 'progress') drawResult();
  }

  const status = el('p.status', { role: 'status' });
  function drawStatus() {
    status.textContent = said ? said.slice(0, 1).toUpperCase() + said.slice(1) : '';
    status.classList.toggle('is-error', isError);
  }

  function drawForm() {
    const n = store.selection.length;
    const nodes = store.selectedNodes.filter((node) => CHANGEABLE.includes(graph.kind[node]));
    const isTaken = n === 1 && edits.some((edit) => edit.what === 'nodes' && edit.name === store.nameOf(store.selection[0]));
    const adds = el('div.actions', {},
      nodes.length && !isTaken ? button(`+ ${n === 1 ? store.nameOf(store.selection[0]) : several(n, 'selected thing')}`, () => add(), { 'data-focus': 'add' }) : '',
      n === 2 ? button('+ the line between them', () => add('edge'), { 'data-focus': 'add-edge' }) : '',
      button(`+ everything at “${word(positionOf())}”`, () => add('position'), { 'data-focus': 'add-position' }));
    fill(form,
      el('ul.edits', {}, ...edits.map((edit, i) => editItem(edit, i))),
      edits.length ? '' : el('p.quiet', {}, problemWith([], '')),
      adds,
      takesFromOther(edits) ? otherPrompt() : '',
      el('details.more', {}, el('summary', {}, 'How it is run'), el('div.settings', {}, ...settingsParts())),
      el('div.actions.run', {}, running ? button('Cancel', () => running?.abort(), { 'data-focus': 'go' }) : button('Run it', () => go(), { class: 'primary', 'data-focus': 'go', disabled: !ui.canRun }), edits.length ? button('Clear', () => ((edits = []), draw()), { 'data-focus': 'clear' }) : ''),
      ui.canRun ? '' : el('p.quiet', {}, 'This page is a file. To run experiments, open its graph on your machine: ', el('code', {}, 'silverstain explore GRAPH')),
      status);
    drawStatus();
  }

  function editItem(edit, i) {
    const choose = el('select', { 'aria-label': `what is done to ${edit.name}`, 'data-focus': `op-${i}`, onchange: (event) => ((edits[i] = { ...edit, op: event.target.value, value: valueFor(event.target.value) }), draw()) },
      ...operationsFor(edit.what).map(([op, text]) => el('option', { value: op, selected: op === edit.op }, text)));
    const number = edit.op === 'ablate' ? '' : el('input.number', { type: 'number', step: 'any', value: String(edit.value ?? ''), 'aria-label': `number for ${edit.name}`, 'data-focus': `value-${i}`, oninput: (event) => (edits[i] = { ...edits[i], value: event.target.value === '' ? NaN : Number(event.target.value) }) });
    const size = edit.what === 'nodes' && edit.nodes.length > 1 ? el('span.quiet', {}, several(edit.nodes.length, 'node')) : '';
    return el('li', {}, el('span.name', {}, edit.name, ' ', size), choose, number, button('✕', () => ((edits = edits.filter((_, k) => k !== i)), draw()), { class: 'tool', 'aria-label': `leave out ${edit.name}`, 'data-focus': `out-${i}` }));
  }

  const otherPrompt = () => el('label.other', {}, el('span', {}, 'the other prompt'), el('input.text', { type: 'text', value: settings.donor, spellcheck: 'false', 'data-focus': 'donor', placeholder: isContrast ? 'the other of the two prompts' : page.prompt, oninput: (event) => (settings.donor = event.target.value) }));

  function settingsParts() {
    const number = (name, label, most, step = '1') => el('label', {}, el('span', {}, label), el('input.number', { type: 'number', min: '0', max: String(most), step, value: String(settings[name]), 'data-focus': name, oninput: (event) => (settings[name] = Number(event.target.value) || 0) }));
    const choice = (name, label, options) => el('label', {}, el('span', {}, label), el('select', { 'data-focus': name, onchange: (event) => (settings[name] = event.target.value) }, ...options.map(([value, text]) => el('option', { value, selected: settings[name] === value }, text))));
    return [
      isContrast ? choice('run', 'prompt', [['base', 'the first prompt'], ['contrast', 'the second prompt']]) : '',
      choice('attention', 'attention', [['live', 'live: follows the change'], ['frozen', 'frozen: as it was']]),
      number('tokens', 'go on for so many tokens', 60),
      number('temperature', 'temperature', 2, 'any'),
      number('seed', 'seed', 2 ** 31 - 1),
      el('label', {}, el('span', {}, 'random control'), el('input', { type: 'checkbox', checked: settings.control, 'data-focus': 'control', onchange: (event) => (settings.control = event.target.checked) })),
    ];
  }

  function drawResult() {
    const nameOf = (id) => (store.page.index.has(id) ? store.nameOf(id) : id);
    fill(result, ...(shown ? [el('h2', {}, shown.name || titleOfEvidence(shown)), ...resultParts(shown, nameOf, (id) => store.select([id]))] : [emptyResult()]));
  }

  /** What to do, where nothing has been run. */
  function emptyResult() {
    const first = edits.length ? 'Press “Run it”.' : 'Choose on the left what is changed: a box that is selected, or everything at a word.';
    return el('div.empty', {}, el('p', {}, ui.canRun ? first : 'Choose one of the experiments on the right.'), el('p.quiet', {}, 'What the model says before and after stands here, beside what the graph foretold, and beside as many random parts changed as much.'));
  }

  function drawKept() {
    const found = experimentsIn(store.state.evidence);
    fill(kept, el('h2', {}, 'Kept in the story'), found.length ? el('ul', {}, ...found.map(({ entry, at }) => el('li', {},
      button(titleOfEvidence(entry), () => ((shown = { ...entry, name: titleOfEvidence(entry) }), drawResult()), { class: 'reference', 'data-focus': `kept-${at}` }), el('span.quiet', {}, outcomeOf(entry)),
      ui.canRun && againOf(entry) ? button('Run again', () => go({ ...againOf(entry), seed: againOf(entry).seed ?? settings.seed }, titleOfEvidence(entry)), { class: 'link', 'data-focus': `again-${at}` }) : '',
      button('Remove', () => store.apply(withoutEvidence(store.state, at), 'remove an experiment'), { class: 'link', 'data-focus': `remove-${at}` })))) : el('p.quiet', {}, 'Nothing yet. Every experiment that comes to an end is kept here and saved with your story.'));
  }

  function draw() {
    if (root.hidden) return;
    drawForm();
    drawResult();
    drawKept();
  }

  return {
    update: (what) => {
      if (root.hidden || what === 'hover') return;
      drawForm();
      if (!shown) drawResult();
      if (what === 'state') drawKept();
    },
    open: (isOpen) => {
      root.hidden = !isOpen;
      if (isOpen) {
        if (!edits.length && store.selection.length && ui.canRun) add();
        draw();
      } else running?.abort();
    },
    /** What is selected now, in place of what was to be changed. */
    take: () => {
      edits = [];
      add();
    },
    focus: () => form.querySelector('select,button')?.focus(),
  };
}
