/**
 * Where single nodes stand in the flow: positions of the prompt from left to right, layers from bottom to top.
 * @module
 */
import { LOGIT, TOKEN, ATTENTION } from './format.js';
import { columns as letters } from './layout.js';

const STEP = 15; // between two nodes of a cell
const CELL = 48; // the narrowest column
const LETTER = 7.4; // of a word under its column
const WIDEST_WORD = 110;
const ROW = 34;
const LEFT = 64;
const TOP = 44;
const [FEWEST_IN_LINE, MOST_IN_LINE] = [3, 12];

/**
 * @typedef {{width: number, height: number, x: Float32Array, y: Float32Array, size: Float32Array,
 *   columns: {x: number, width: number, text: string}[], rows: {y: number, name: string, height: number}[]}} Flow
 * @param {any} page  `{graph, known, document}`
 * @param {Uint8Array} nodes  which are drawn
 * @returns {Flow}
 */
export function flowLayout({ graph, known, document }, nodes, { width = 800, height = 600 } = {}) {
  const nPositions = Math.max(document.tokens.length, 1);
  const nRows = graph.nLayers + 2;
  const rowOf = (i) => (graph.kind[i] === TOKEN ? 0 : graph.kind[i] === LOGIT ? nRows - 1 : Math.min(Math.max(graph.layer[i] + 1, 0), nRows - 2));
  const cells = Array.from({ length: nRows * nPositions }, () => []);
  for (let i = 0; i < graph.n; i++) {
    if (nodes[i]) cells[rowOf(i) * nPositions + Math.max(graph.position[i], 0)].push(i);
  }
  const most = Math.min(Math.max(Math.floor(((1.5 * (width - LEFT)) / nPositions - 18) / STEP), FEWEST_IN_LINE), MOST_IN_LINE);
  const lines = (n) => Math.ceil(n / most);
  const inLine = (n) => (n ? Math.ceil(n / lines(n)) : 0);
  const wide = Array.from({ length: nPositions }, (_, p) => {
    let longest = 0;
    for (let r = 0; r < nRows; r++) longest = Math.max(longest, inLine(cells[r * nPositions + p].length));
    return Math.max(CELL, Math.min(letters(document.tokens[p] ?? '') * LETTER + 14, WIDEST_WORD), longest * STEP + 18);
  });
  const tall = Array.from({ length: nRows }, (_, r) => {
    let tallest = 1;
    for (let p = 0; p < nPositions; p++) tallest = Math.max(tallest, lines(cells[r * nPositions + p].length));
    return ROW + (tallest - 1) * STEP;
  });
  const stretch = Math.max(1, (width - LEFT - 24) / wide.reduce((a, b) => a + b, 0));
  const spread = Math.min(Math.max(1, (height - TOP - 70) / tall.reduce((a, b) => a + b, 0)), 3);
  const columns = [];
  let left = LEFT;
  wide.forEach((w, p) => {
    columns.push({ x: left + (w * stretch) / 2, width: w * stretch, text: document.tokens[p] ?? '' });
    left += w * stretch;
  });
  const rows = new Array(nRows);
  let top = TOP;
  for (let r = nRows - 1; r >= 0; r--) {
    const name = r === 0 ? '' : r === nRows - 1 ? 'answer' : `L${r - 1}`;
    rows[r] = { y: top + (tall[r] * spread) / 2, height: tall[r] * spread, name };
    top += tall[r] * spread;
  }
  const x = new Float32Array(graph.n);
  const y = new Float32Array(graph.n);
  cells.forEach((cell, c) => {
    const [row, column] = [rows[Math.floor(c / nPositions)], columns[c % nPositions]];
    cell.sort((a, b) => order(graph, a) - order(graph, b) || known.reached[b] - known.reached[a] || a - b);
    const n = inLine(cell.length);
    cell.forEach((node, k) => {
      const [line, at] = [Math.floor(k / n), k % n];
      const here = Math.min(n, cell.length - line * n);
      x[node] = column.x + (at - (here - 1) / 2) * STEP;
      y[node] = row.y + (line - (lines(cell.length) - 1) / 2) * STEP; // the strongest on top, where their names are
    });
  });
  return { width: left + 24, height: top + 40, x, y, size: sizes(graph, known, nodes), columns, rows };
}

/** In a cell attention stands before features and errors behind them. */
const order = (graph, node) => (graph.kind[node] === ATTENTION ? 0 : graph.kind[node] === 0 ? 1 : 2);

/** Radius of each glyph: its area is the node's share of the influence. */
function sizes(graph, known, nodes) {
  let most = 0;
  for (let i = 0; i < graph.n; i++) if (nodes[i] && graph.kind[i] !== TOKEN) most = Math.max(most, known.reached[i]);
  return Float32Array.from(graph.ids, (_, i) => {
    if (graph.kind[i] === LOGIT) return 6.5;
    if (graph.kind[i] === TOKEN) return 3.5;
    return most > 0 ? 2.6 + 4.6 * Math.sqrt(Math.min(known.reached[i] / most, 1)) : 3;
  });
}

/**
 * A grid in which the node under a point is found at once.
 * @param {Flow} flow @param {Uint8Array} nodes
 */
export function hitGrid(flow, nodes, reach = 14) {
  const grid = new Map();
  const key = (cx, cy) => cx * 65536 + cy;
  for (let i = 0; i < nodes.length; i++) {
    if (!nodes[i]) continue;
    const at = key(Math.floor(flow.x[i] / reach), Math.floor(flow.y[i] / reach));
    if (grid.has(at)) grid.get(at).push(i);
    else grid.set(at, [i]);
  }
  return (x, y) => {
    const [cx, cy] = [Math.floor(x / reach), Math.floor(y / reach)];
    let best = -1;
    let nearest = reach * reach;
    for (let dx = -1; dx <= 1; dx++) {
      for (let dy = -1; dy <= 1; dy++) {
        for (const i of grid.get(key(cx + dx, cy + dy)) ?? []) {
          const distance = (flow.x[i] - x) ** 2 + (flow.y[i] - y) ** 2;
          if (distance < nearest) [best, nearest] = [i, distance];
        }
      }
    }
    return best;
  };
}
