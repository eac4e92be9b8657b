/**
 * What the model would say after each token of the prompt: asked of the running model when a person wants it.
 * @module
 */
import { phaseOf, work } from './ask.js';
import { button, el, fill } from './dom.js';
import { percent } from './text.js';

/** A button that becomes the list. @param {import('./store.js').Store} store @param {any} ui @returns {HTMLElement} */
export function nextWords(store, ui) {
  const place = el('div.next');
  const line = el('p.quiet', { role: 'status' });
  const offer = () => fill(place, button('What would it say after each word?', ask, { class: 'link', 'data-focus': 'next-words' }));
  async function ask() {
    fill(place, line);
    line.textContent = 'asking the server';
    try {
      const found = await work('lens', { graph: ui.graphPath, run: 'contrast', pins: [] }, { onEvent: (event) => (line.textContent = phaseOf(event, line.textContent)) });
      fill(place, ...listed(found), button('Hide', offer, { class: 'link', 'data-focus': 'next-words' }));
    } catch (error) {
      fill(place, el('p.quiet.is-error', { role: 'status' }, error.message), button('Try again', ask, { class: 'link', 'data-focus': 'next-words' }));
    }
  }
  offer();
  return place;
}

/** The last layer's reading of the stream is what the model says. @param {any} found */
function listed(found) {
  const last = found.cells[found.cells.length - 1];
  const items = found.tokens.map((token, at) => {
    const [[text, , chance], ...others] = last[at];
    const rest = others.map(([name, , p]) => `${name.trim() || name} ${percent(p, 1)}`).join(', ');
    return el('li', { title: `then ${rest}` }, el('span', { lang: '' }, token.trim() || token), el('span.quiet', { 'aria-label': 'then' }, '→'), el('b', { lang: '' }, text.trim() || text), el('span.figure', {}, percent(chance, 1)));
  });
  return [el('ol.nextwords', { 'aria-label': 'after each token the likeliest next one' }, ...items)];
}
