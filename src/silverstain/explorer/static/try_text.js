/**
 * A feature tried on a person's own text: how active it is at each word.
 * @module
 */
import { work } from './ask.js';
import { button, el, fill } from './dom.js';
import { brief } from './text.js';

/** What was typed last stays there for the next feature. */
let typed = '';

/** The box for one feature of a graph. @param {any} ui */
export function tryText(ui, layer, feature, now) {
  const place = el('p.examples.tried', { 'aria-live': 'polite', lang: '' });
  const input = el('input.text', { type: 'text', value: typed, placeholder: 'a text of yours', 'aria-label': 'a text to try this feature on', spellcheck: 'false', 'data-focus': 'try-text',
    onkeydown: (event) => {
      if (event.key !== 'Enter') return;
      event.preventDefault();
      go();
    } });

  async function go() {
    typed = input.value;
    if (!typed.trim()) return;
    fill(place, el('span.quiet', {}, 'reading …'));
    try {
      const found = await work('activity', { graph: ui.graphPath, layer, feature, text: typed });
      const most = Math.max(now ?? 0, ...found.activations.map(Math.abs), 1e-9);
      fill(place, ...found.tokens.flatMap((token, i) => {
        const value = found.activations[i];
        return [value ? el('mark', { title: brief(value), style: { '--strength': `${Math.round((100 * Math.abs(value)) / most)}%` } }, token) : token, ' '];
      }));
      const best = found.activations.reduce((at, value, i, all) => (Math.abs(value) > Math.abs(all[at]) ? i : at), 0);
      place.append(el('span.quiet', {}, found.activations[best] ? ` strongest at “${found.tokens[best].trim()}”: ${brief(found.activations[best])}` : ' not active in this text'));
    } catch (error) {
      fill(place, el('span.is-error', {}, error.message));
    }
  }
  return [el('h2', {}, 'Try it on a text'), el('div.try', {}, input, button('Read', go, { 'data-focus': 'try-go' })), place];
}
