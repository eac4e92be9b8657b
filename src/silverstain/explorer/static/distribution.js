/**
 * How active a feature is where it is active, and where its activation here stands among that: from the histogram of its
 * card, or where there is none on a scale from nothing to the most that was seen.
 * @module
 */
import { el } from './dom.js';
import { brief, count, percent } from './text.js';

const [WIDTH, HEIGHT, FOOT] = [280, 56, 2];
const SVG = 'http://www.w3.org/2000/svg';

/**
 * The share of what was counted that lies below a value; within a bin as if it lay evenly, as Python has it.
 * @param {{bounds: number[], counts: number[]}} histogram @param {number} value
 */
export function shareBelow({ bounds, counts }, value) {
  const total = counts.reduce((sum, n) => sum + n, 0);
  if (!total) return NaN;
  let below = 0;
  for (let i = 0; i < counts.length; i++) {
    if (value >= bounds[i + 1]) below += counts[i];
    else return (below + counts[i] * Math.max(0, (value - bounds[i]) / (bounds[i + 1] - bounds[i]))) / total;
  }
  return 1;
}

/** Where a value stands, in bins from the left; every bin is as wide as the next. */
export function placeOf({ bounds }, value) {
  const last = bounds.length - 1;
  if (value <= bounds[0]) return 0;
  if (value >= bounds[last]) return last;
  const at = bounds.findIndex((bound) => value < bound) - 1;
  return at + (value - bounds[at]) / (bounds[at + 1] - bounds[at]);
}

/** The picture and the sentence that says the same. @param {any} card @param {number|null} activation */
export function distributionParts(card, activation) {
  const { histogram = null } = card;
  const isKnown = activation !== null && Number.isFinite(activation);
  if (histogram) {
    const total = histogram.counts.reduce((sum, n) => sum + n, 0);
    const said = isKnown ? `Here ${brief(activation)}: above ${percent(shareBelow(histogram, activation))} of the ${count(total)} times it was active.` : `${count(total)} times active.`;
    const ends = [histogram.bounds[0], histogram.bounds.at(-1)];
    return [el('h3', {}, 'How active it is'), el('figure.distribution', {}, bars(histogram, isKnown ? placeOf(histogram, activation) : null, `Histogram of its activation, from ${brief(ends[0])} to ${brief(ends[1])}. ${said}`), scale(...ends), el('figcaption.quiet', {}, said))];
  }
  const most = card.max_activation ?? 0;
  if (!isKnown || !(most > 0)) return [];
  const top = Math.max(most, activation);
  const said = `Here ${brief(activation)}; on average ${brief(card.mean_activation)} where it is active, at most ${brief(most)}.`;
  return [el('h3', {}, 'How active it is'), el('figure.distribution', {}, ruler([[card.mean_activation / top, 'mean'], [most / top, 'most']], activation / top, said), scale(0, top), el('figcaption.quiet', {}, said))];
}

const scale = (from, to) => el('div.scale', { 'aria-hidden': 'true' }, el('span.figure', {}, brief(from)), el('span.figure', {}, brief(to)));

function drawing(label, height) {
  const svg = document.createElementNS(SVG, 'svg');
  for (const [key, value] of Object.entries({ viewBox: `0 0 ${WIDTH} ${height}`, role: 'img', 'aria-label': label, preserveAspectRatio: 'none' })) svg.setAttribute(key, value);
  const put = (tag, attributes) => {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
    svg.append(node);
  };
  return { svg, put };
}

function bars({ counts }, place, label) {
  const { svg, put } = drawing(label, HEIGHT);
  const [most, step] = [Math.max(...counts), WIDTH / counts.length];
  counts.forEach((n, i) => {
    const height = n ? Math.max(1, (n / most) * (HEIGHT - FOOT)) : 0;
    const isHere = place !== null && Math.min(Math.floor(place), counts.length - 1) === i;
    put('rect', { x: i * step, y: HEIGHT - FOOT - height, width: Math.max(step - 1, 0.5), height, class: isHere ? 'bin is-here' : 'bin' });
  });
  put('path', { d: `M0 ${HEIGHT - FOOT}H${WIDTH}`, class: 'axis' });
  if (place !== null) put('path', { d: `M${place * step} 0V${HEIGHT}`, class: 'here' });
  return svg;
}

function ruler(marks, here, label) {
  const { svg, put } = drawing(label, 16);
  put('path', { d: `M0 8H${WIDTH}`, class: 'axis' });
  for (const [at, name] of marks) put('path', { d: `M${at * WIDTH} 3V13`, class: `mark ${name}` });
  put('path', { d: `M${Math.max(0, here) * WIDTH} 0V16`, class: 'here' });
  return svg;
}
