/**
 * The shapes of nodes: a circle is a feature, a square attention, a diamond an error, a rounded square a word, a ring
 * an answer. Filled raises the answer; hollow lowers it.
 * @module
 */
import { ATTENTION, BIAS, ERROR, KINDS, LOGIT, TOKEN, isRest } from './format.js';

/** @returns {{shape: 'circle'|'square'|'diamond'|'word'|'ring', colour: string, isHollow: boolean}} */
export function glyphOf(graph, known, node) {
  const kind = graph.kind[node];
  if (kind === TOKEN) return { shape: 'word', colour: 'faint', isHollow: false };
  if (kind === LOGIT) return { shape: 'ring', colour: 'answer', isHollow: false };
  if (kind === ERROR || kind === BIAS || isRest(graph, node)) return { shape: 'diamond', colour: 'error', isHollow: true };
  const lowers = known.added[node] < 0;
  const shape = kind === ATTENTION ? 'square' : 'circle';
  return { shape, colour: lowers ? 'lowers' : kind === ATTENTION ? 'attention' : 'raises', isHollow: lowers };
}

/** The outline of a glyph, added to a path of a canvas. @param {CanvasRenderingContext2D|Path2D} path */
export function trace(path, shape, x, y, r) {
  if (shape === 'circle' || shape === 'ring') {
    path.moveTo(x + r, y);
    path.arc(x, y, r, 0, 2 * Math.PI);
  } else if (shape === 'diamond') {
    path.moveTo(x, y - r - 1);
    path.lineTo(x + r + 1, y);
    path.lineTo(x, y + r + 1);
    path.lineTo(x - r - 1, y);
    path.closePath();
  } else {
    path.rect(x - r, y - r, 2 * r, 2 * r);
  }
}

/** The same as a path of SVG. */
export function outline(shape, x, y, r) {
  const f = (value) => value.toFixed(1);
  if (shape === 'circle' || shape === 'ring') return `M${f(x - r)} ${f(y)}a${f(r)} ${f(r)} 0 1 0 ${f(2 * r)} 0a${f(r)} ${f(r)} 0 1 0 ${f(-2 * r)} 0z`;
  if (shape === 'diamond') return `M${f(x)} ${f(y - r - 1)}l${f(r + 1)} ${f(r + 1)}l${f(-r - 1)} ${f(r + 1)}l${f(-r - 1)} ${f(-r - 1)}z`;
  return `M${f(x - r)} ${f(y - r)}h${f(2 * r)}v${f(2 * r)}h${f(-2 * r)}z`;
}

export const kindName = (graph, node) => KINDS[graph.kind[node]];
