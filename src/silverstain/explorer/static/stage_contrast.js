/**
 * The contrast on the page: two prompts one above the other with what differs, how few units turn the answer, a slider
 * that patches so many of them in the running model, and the heads that look elsewhere.
 * @module
 */
import { phaseOf, work } from './ask.js';
import { curvesIn, curveSvg, ORDERS } from './curve.js';
import { button, el, fill } from './dom.js';
import { ATTENTION, isUnit } from './format.js';
import { withCurves } from './state.js';
import { brief, percent, signed } from './text.js';

const STEPS = [0, 1, 2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 50, 70, 100, 140, 200, 300, 500];
const MOST_HEADS = 12;
const PAUSE = 60;

/** @param {HTMLElement} root @param {import('./store.js').Store} store @param {any} ui */
export function contrastStage(root, store, ui) {
  const { document: page } = store.page;
  const frame = el('div.stage.contrast-stage', { hidden: true });
  root.append(frame);
  const [both, proof, heads] = [el('section.both'), el('section.proof'), el('section.heads')];
  frame.append(both, proof, heads);
  let [step, method, run] = [0, 'signed', 'base'];
  /** @type {any} */
  let patched = null;
  /** @type {AbortController|null} */
  let patching = null;
  /** @type {AbortController|null} */
  let measuring = null;
  let [said, isError, waiting] = ['', false, 0];
  /** @type {any} */
  let coming = null;
  const answers = () => /** @type {[string, string]} */ (page.contrast.sides.map((side) => side.answer.replace(/ \d+ %$/, '').trim()));

  function drawBoth() {
    const side = (one, i) => el('div.side', {}, el('span.quiet', {}, i ? 'second prompt' : 'first prompt'), el('p.text', { lang: '' }, ...one.pieces.map(([text, isChanged]) => (isChanged ? el('mark', {}, text) : text))), el('b.answer', {}, `→ ${one.answer}`));
    fill(both, ...page.contrast.sides.map(side), el('p.quiet', {}, `What is explained is the difference of the two answers, in logits. ${page.contrast.explained}. Marked is all that differs; the rest of both prompts is the same.`));
  }

  async function measure() {
    measuring?.abort();
    measuring = new AbortController();
    const mine = measuring;
    coming = { kind: 'curves', base: NaN, contrast: NaN, curves: {} };
    [said, isError] = ['asking the server', false];
    drawProof();
    try {
      const done = await work('curves', { graph: ui.graphPath }, { signal: mine.signal, onEvent: (event) => {
        said = phaseOf(event, said);
        if (event.event === 'ends') Object.assign(coming, { base: event.base, contrast: event.contrast });
        if (event.event === 'curve') coming.curves[event.method] = event.values;
        drawProof();
      } });
      store.apply(withCurves(store.state, { ...coming, turned: done.turned }), 'measure the curves');
      [coming, said] = [null, ''];
    } catch (error) {
      isError = error.name !== 'AbortError' && error.message !== 'cancelled';
      [coming, said] = [null, isError ? error.message : ''];
    }
    measuring = null;
    return drawProof();
  }

  /** The slider has moved: patch what it says, a moment after it rests; what was asked before is left. */
  function moved() {
    clearTimeout(waiting);
    waiting = setTimeout(patch, PAUSE);
    const figure = frame.querySelector('output.k');
    if (figure) figure.textContent = kText();
  }

  const kText = () => (STEPS[step] === 1 ? '1 unit' : `${STEPS[step]} units`);

  async function patch() {
    patching?.abort();
    patching = new AbortController();
    const mine = patching;
    try {
      const done = await work('patch', { graph: ui.graphPath, k: STEPS[step], method, run }, { signal: mine.signal, onEvent: (event) => {
        if (patching === mine && (event.event === 'phase' || event.event === 'waiting')) drawPatched(phaseOf(event));
      } });
      if (patching !== mine) return;
      patched = done;
      drawPatched();
      ui.say(`with ${kText()} the model says ${done.answers[0].token.trim()}`);
    } catch (error) {
      if (patching !== mine || error.name === 'AbortError') return;
      patched = null;
      drawPatched(error.message, true);
    }
  }

  const place = el('div.patched', { 'aria-live': 'polite' });
  const chart = el('div.chart');
  function drawPatched(text = '', wrong = false) {
    const found = coming ?? curvesIn(store.state.evidence);
    const now = patched && run === 'base' ? { k: patched.k, value: patched.value } : null;
    chart.innerHTML = found && Number.isFinite(found.base) ? curveSvg(found, now, answers(), chart.clientWidth) : '';
    if (text) return fill(place, el(`p.quiet${wrong ? '.is-error' : ''}`, {}, text));
    if (!patched) return fill(place, el('p.quiet', {}, ui.canRun ? 'Move the slider: so many units get the activation that they have in the other run, everything else of the model is left to itself.' : 'This page is a file; opened with silverstain explore, a slider here patches the running model.'));
    const rows = patched.answers.slice(0, 6).map((one) => el('tr', {}, el('th', { scope: 'row', lang: '' }, one.token.trim() || one.token), el('td', {}, el('span.chance', {}, el(`i.${one.is_answer ? 'after' : 'before'}`, { 'aria-hidden': 'true', style: { width: `${100 * one.probability}%` } }), el('span.figure', {}, percent(one.probability, 1))))));
    return fill(place, el('p', {}, 'It says ', el('b', { lang: '' }, patched.answers[0].token.trim()), el('span.quiet', {}, `, difference ${signed(patched.value)}`)), el('table.answers', {}, el('tbody', {}, ...rows)));
  }

  function drawProof() {
    if (frame.hidden) return;
    const found = coming ?? curvesIn(store.state.evidence);
    const turned = found?.turned;
    const line = !turned ? '' : turned.k === null ? 'No number of units that was tried turns the answer: this does not prove the circuit.' : `${turned.k === 1 ? 'One unit turns' : `${turned.k} units turn`} the answer${turned.first_choice ? '; it is then the first choice' : ''}.`;
    const choice = (name, options, get, set) => el('select', { 'aria-label': name, 'data-focus': name, onchange: (event) => (set(event.target.value), moved()) }, ...options.map(([value, text]) => el('option', { value, selected: get === value }, text)));
    const slider = el('input', { type: 'range', min: '0', max: String(STEPS.length - 1), step: '1', value: String(step), 'aria-label': 'units that are patched', 'aria-valuetext': kText(), 'data-focus': 'k', oninput: (event) => ((step = Number(event.target.value)), event.target.setAttribute('aria-valuetext', kText()), moved()) });
    const measureButton = ui.canRun ? (measuring ? button('Cancel', () => measuring?.abort(), { 'data-focus': 'measure' }) : button(found ? 'Measure again' : 'Measure the curves', measure, { class: found ? '' : 'primary', 'data-focus': 'measure' })) : '';
    fill(proof, el('h2', {}, 'How few units turn the answer?'),
      el('p.quiet', {}, 'Units of the second run are put into the first, the most important first, and the model runs on by itself. Random units, and those that merely change most, are the controls: they should do less.'),
      el('div.columns', {},
        el('div', {}, found ? '' : el('div.empty', {}, el('p', {}, ui.canRun ? 'Not measured yet.' : 'Not measured; open this graph with silverstain explore to measure it.'), el('p.quiet', {}, ui.canRun ? 'The model is run with 1, 2, 5, … 500 units put in, three times over: by the account, by how much they change, and at random. A small model takes seconds, a larger one a minute or two. Or move the slider on the right and try a number yourself.' : '')), chart, found ? el('ul.curvekeys', {}, ...Object.entries(ORDERS).filter(([name]) => found.curves[name]).map(([name, text]) => el('li', {}, el(`i.${name}`, { 'aria-hidden': 'true' }), text))) : '', line ? el('p', {}, el('b', {}, line)) : '', el('div.actions', {}, measureButton), said ? el(`p.quiet${isError ? '.is-error' : ''}`, { role: 'status' }, said) : ''),
        el('div', {}, ui.canRun ? el('div.knobs', {}, el('label.slider', {}, el('span', {}, 'patched'), el('output.figure.k', {}, kText()), slider),
          choice('order', Object.entries(ORDERS), method, (value) => (method = value)), choice('into', [['base', 'into the first prompt'], ['contrast', 'back into the second']], run, (value) => (run = value))) : '', place)));
    drawPatched();
  }

  function drawHeads() {
    const { graph, known } = store.page;
    const moved_ = graph.ids.flatMap((_, i) => (graph.kind[i] === ATTENTION && isUnit(graph, i) ? [i] : [])).sort((a, b) => known.reached[b] - known.reached[a]).slice(0, MOST_HEADS);
    const token = (at) => String(page.tokens[at] ?? at).trim();
    const rows = moved_.map((node) => el('tr', { 'data-key': graph.ids[node] },
      el('th', { scope: 'row' }, button(`L${graph.layer[node]}.H${graph.feature[node]}`, () => store.select([graph.ids[node]]), { class: 'reference', 'data-focus': `head-${graph.ids[node]}` })),
      el('td', { lang: '' }, `“${token(graph.position[node])}” at “${token(graph.key?.[node])}”`),
      el('td.figure', {}, `${graph.activation[node] >= 0 ? 'more' : 'less'} by ${brief(Math.abs(graph.activation[node]))}`),
      el('td.figure', {}, percent(known.total ? known.reached[node] / known.total : 0, 1)),
      el('td', {}, known.added[node] < 0 ? 'works against the change' : 'carries the change')));
    fill(heads, el('h2', {}, 'Heads that look elsewhere'), rows.length ? el('table', {}, el('caption', {}, 'How much more or less a head looks from one word at another in the second prompt, of all it looks at (1).'), el('thead', {}, el('tr', {}, ...['head', 'looks from … at …', 'change', 'influence', ''].map((name) => el('th', { scope: 'col' }, name)))), el('tbody', {}, ...rows)) : el('p.quiet', {}, 'In this graph no head has a node of its own.'));
  }

  return {
    frame,
    draw: () => {
      if (frame.hidden || !page.contrast) return;
      drawBoth();
      drawProof();
      drawHeads();
    },
    mark: () => {
      for (const node of frame.querySelectorAll('tr[data-key]')) node.classList.toggle('is-selected', store.selection.includes(node.getAttribute('data-key')));
    },
    zoom: () => undefined,
    fit: () => undefined,
    focus: () => frame.querySelector('input,button')?.focus({ preventScroll: true }),
    row: () => [],
  };
}
