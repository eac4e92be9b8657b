/**
 * The palettes: light, dark and high contrast by the system's setting. Colours never stand alone: the sign of an edge
 * is also its dash and its end, the kind of a node also its shape.
 * @module
 */

export const LIGHT = {
  page: '#fbfaf7', panel: '#ffffff', raised: '#ffffff', ink: '#1b2430', muted: '#515b67', faint: '#69727c',
  rule: '#e5e3dd', hair: '#efede8', accent: '#8a6410', accentSoft: '#f7efdc', raises: '#2262a8', lowers: '#bd3f0a',
  answer: '#14733a', answerSoft: '#e9f5ed', unit: '#2262a8', unitSoft: '#eef4fb', attention: '#6d35d0',
  attentionSoft: '#f3eefc', error: '#68717b', errorSoft: '#f1f2f3', word: '#f1efe9', good: '#14733a',
  partial: '#8a6410', poor: '#bd3f0a', unknown: '#8a6410',
};

export const DARK = {
  page: '#12161c', panel: '#171c23', raised: '#1d232c', ink: '#e8ebee', muted: '#a2acb7', faint: '#8e98a4',
  rule: '#2a313b', hair: '#222932', accent: '#e3b44f', accentSoft: '#33290f', raises: '#78b4f2', lowers: '#ff9b66',
  answer: '#64d08f', answerSoft: '#14291c', unit: '#78b4f2', unitSoft: '#18263a', attention: '#b99cf7',
  attentionSoft: '#251d3b', error: '#9aa4af', errorSoft: '#232a32', word: '#232932', good: '#64d08f',
  partial: '#e3b44f', poor: '#ff9b66', unknown: '#e3b44f',
};

const MORE_LIGHT = { ...LIGHT, page: '#ffffff', ink: '#000000', muted: '#24292f', faint: '#3d444d', rule: '#6b7280', hair: '#c9ccd1', accent: '#5f4300', raises: '#003f8a', lowers: '#8f2500', answer: '#00501f' };
const MORE_DARK = { ...DARK, page: '#000000', panel: '#000000', raised: '#0b0d10', ink: '#ffffff', muted: '#dfe4ea', faint: '#c2c9d1', rule: '#8b95a1', hair: '#454d57', accent: '#ffcf66', raises: '#a8d1ff', lowers: '#ffbe9a', answer: '#8ff0b3' };

const variables = (palette) =>
  Object.entries(palette)
    .map(([name, value]) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}:${value}`)
    .join(';');

/** Style rules that give a selector the palette that the system asks for. */
export function themeStyle(selector, { followsTheme = true } = {}) {
  const rules = [`${selector}{${variables(LIGHT)}}`];
  if (followsTheme) {
    rules.push(
      `@media (prefers-color-scheme:dark){${selector}{${variables(DARK)}}}`,
      `@media (prefers-contrast:more){${selector}{${variables(MORE_LIGHT)}}}`,
      `@media (prefers-contrast:more) and (prefers-color-scheme:dark){${selector}{${variables(MORE_DARK)}}}`,
    );
  }
  return rules.join('\n');
}

/** The palette the system asks for, for drawing on a canvas. */
export function paletteNow(matches = (query) => globalThis.matchMedia?.(query).matches ?? false) {
  const dark = matches('(prefers-color-scheme:dark)');
  if (matches('(prefers-contrast:more)')) return dark ? MORE_DARK : MORE_LIGHT;
  return dark ? DARK : LIGHT;
}

/** The name of the colour of a kind of box or node. */
export function colourOf(kind, isAttention = false) {
  if (kind === 'logit') return 'answer';
  if (kind === 'error' || kind === 'bias') return 'error';
  if (kind === 'token') return 'muted';
  return isAttention || kind === 'attention' ? 'attention' : 'unit';
}
