/**
 * The lens on the page: for every layer and position what the stream would say, were it read there. A click pins a
 * token, and every cell then shows how likely that one is.
 * @module
 */
import { phaseOf, work } from './ask.js';
import { button, el, fill } from './dom.js';
import { percent } from './text.js';

/** @param {HTMLElement} root @param {import('./store.js').Store} store @param {any} ui */
export function lensStage(root, store, ui) {
  const frame = el('div.stage.lens-stage', { hidden: true });
  root.append(frame);
  /** @type {any} */
  let found = null;
  /** @type {{id: number, token: string}[]} */
  let pins = [];
  /** @type {boolean|null} */
  let isFirst = null;
  let [run, said, isError, asking] = ['contrast', '', false, false];

  async function ask() {
    [asking, isError, said] = [true, false, 'asking the server'];
    render();
    try {
      found = await work('lens', { graph: ui.graphPath, run, pins: pins.map((pin) => pin.id) }, { onEvent: (event) => ((said = phaseOf(event, said)), status()) });
      said = '';
      isFirst = isFirst === null;
    } catch (error) {
      [isError, said] = [true, error.message];
    }
    asking = false;
    const isAtEnd = frame.scrollLeft + frame.clientWidth >= frame.scrollWidth - 4;
    render();
    if (isFirst || isAtEnd) frame.scrollLeft = frame.scrollWidth; // where the answer is
    isFirst = false;
  }

  const line = el('p.quiet', { role: 'status' });
  function status() {
    line.textContent = said;
    line.classList.toggle('is-error', isError);
  }

  function pin(id, token) {
    pins = pins.some((one) => one.id === id) ? pins.filter((one) => one.id !== id) : [{ id, token }];
    ui.say(pins.length ? `pinned ${token}` : 'nothing pinned');
    ask();
  }

  function cell(layer, at) {
    const best = found.cells[layer][at];
    const [token, id, chance] = best[0];
    const pinned = pins.length ? found.pinned[layer][at][0] : null;
    const strength = pinned ? pinned[0] : chance;
    const name = token.trim() || token;
    const title = best.map(([text, , p]) => `${text} ${percent(p, 1)}`).join('\n') + (pinned ? `\n${pins[0].token}: rank ${pinned[1].toLocaleString('en')}, ${percent(pinned[0], 1)}` : '');
    const inside = [el('span.token', { lang: '' }, name), pinned ? el('span.rank', {}, `#${pinned[1].toLocaleString('en')}`) : ''];
    return el('td', { style: { '--strength': `${Math.round(100 * Math.min(strength, 1) ** 0.6)}%` } }, el('button', { type: 'button', onclick: () => pin(id, name), title, 'data-focus': `cell-${layer}-${at}`, 'aria-label': `layer ${layer}, ${found.tokens[at]}: ${title.replaceAll('\n', ', ')}` }, ...inside));
  }

  function render() {
    if (frame.hidden) return;
    const choices = store.page.document.contrast
      ? el('select', { 'aria-label': 'prompt', 'data-focus': 'prompt', onchange: (event) => ((run = event.target.value), ask()) }, ...[['base', 'first prompt'], ['contrast', 'second prompt']].map(([value, text]) => el('option', { value, selected: run === value }, text))) : '';
    const head = [el('h2', {}, 'What the stream would say'), el('p.quiet', {}, 'Each cell reads the model’s stream after one layer, at one word, as if the rest of the layers were left out: the likeliest next token there. Darker is likelier. It shows when an answer takes shape; it is no measurement of what computes it. Click a token to pin it: every cell then shows its rank.'),
      el('div.actions', {}, choices, ...pins.map((one) => button(`${one.token} ✕`, () => pin(one.id, one.token), { 'aria-label': `unpin ${one.token}` }))), line];
    status();
    if (!found) return fill(frame, ...head);
    const layers = found.cells.map((_, layer) => layer).reverse();
    const rows = layers.map((layer) => {
      const cells = found.tokens.map((_, at) => cell(layer, at));
      return el('tr', {}, el('th', { scope: 'row' }, layer === 0 ? 'word' : `L${layer - 1}`), ...cells);
    });
    fill(frame, ...head, el('table.lens', {}, el('thead', {}, el('tr', {}, el('th', {}, ''), ...found.tokens.map((token) => el('th', { scope: 'col', lang: '' }, token.trim() || token)))), el('tbody', {}, ...rows)));
    return undefined;
  }

  return {
    frame,
    draw: () => {
      if (frame.hidden || found || asking) return;
      if (ui.canRun) ask();
      else fill(frame, el('p.quiet', {}, 'The lens runs the model: open this graph with silverstain explore.'));
    },
    mark: () => undefined,
    zoom: () => undefined,
    fit: () => undefined,
    focus: () => frame.querySelector('tbody button')?.focus({ preventScroll: true }),
    row: () => [],
  };
}
