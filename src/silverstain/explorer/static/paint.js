/**
 * The flow on canvases: edges under glyphs under names. Two hold what changes rarely; one above them what follows the
 * pointer and the selection.
 * @module
 */
import { LOGIT, TOKEN } from './format.js';
import { glyphOf, trace } from './glyphs.js';
import { FONT } from './picture.js';

const FAINTEST = 0.07;
const LEVELS = 6;

/**
 * The ground and the edges that rest, on a canvas of their own: they fade as one where something is selected, and are not
 * painted again for it.
 * @param {CanvasRenderingContext2D} context
 * @param {any} scene  `{page, flow, nodes, edges, labelOf, palette, camera, width, height}`
 */
export function paintEdges(context, scene) {
  const { palette, camera, width, height, ratio } = scene;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = palette.page;
  context.fillRect(0, 0, width, height);
  grid(context, scene);
  inWorld(context, camera, ratio);
  restingEdges(context, scene);
}

/** Glyphs and names. @param {CanvasRenderingContext2D} context */
export function paintNodes(context, scene) {
  const { page, flow, nodes, palette, camera, width, height, ratio } = scene;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  rowNames(context, scene);
  inWorld(context, camera, ratio);
  const paths = new Map();
  for (let i = 0; i < nodes.length; i++) {
    if (!nodes[i] || outside(scene, flow.x[i], flow.y[i])) continue;
    const { shape, colour, isHollow } = glyphOf(page.graph, page.known, i);
    const key = `${colour} ${isHollow}`;
    if (!paths.has(key)) paths.set(key, { path: new Path2D(), colour, isHollow });
    trace(paths.get(key).path, shape, flow.x[i], flow.y[i], flow.size[i]);
    if (shape === 'ring') trace(paths.get(key).path, 'circle', flow.x[i], flow.y[i], flow.size[i] - 3);
  }
  context.lineWidth = 1.6;
  for (const { path, colour, isHollow } of paths.values()) {
    context.fillStyle = isHollow ? palette.page : palette[colour];
    context.strokeStyle = isHollow ? palette[colour] : palette.page;
    context.fill(path, 'evenodd');
    context.stroke(path);
  }
  names(context, scene);
}

function inWorld(context, camera, ratio) {
  context.setTransform(ratio * camera.zoom, 0, 0, ratio * camera.zoom, ratio * camera.x, ratio * camera.y);
}

const outside = ({ camera, width, height }, x, y) => {
  const [sx, sy] = [x * camera.zoom + camera.x, y * camera.zoom + camera.y];
  return sx < -20 || sy < -20 || sx > width + 20 || sy > height + 20;
};

function grid(context, { flow, palette, camera, width }) {
  const toX = (x) => x * camera.zoom + camera.x;
  const toY = (y) => y * camera.zoom + camera.y;
  context.lineWidth = 1;
  context.strokeStyle = palette.hair;
  context.beginPath();
  for (const row of flow.rows) {
    const y = Math.round(toY(row.y + row.height / 2)) + 0.5;
    context.moveTo(0, y);
    context.lineTo(width, y);
  }
  for (const column of flow.columns) {
    const x = Math.round(toX(column.x - column.width / 2)) + 0.5;
    context.moveTo(x, 0);
    context.lineTo(x, toY(flow.height));
  }
  context.stroke();
}

function rowNames(context, { flow, palette, camera, height }) {
  context.fillStyle = palette.faint;
  context.font = `12px ${FONT}`;
  context.textBaseline = 'middle';
  let last = Infinity;
  for (const row of flow.rows) {
    const y = row.y * camera.zoom + camera.y;
    if (last - y < 15 || y < 8 || y > height) continue;
    context.fillText(row.name, 10, y);
    last = y;
  }
}

/** Edges in as few strokes as there are signs and strengths: thousands of them stay fluid. */
function restingEdges(context, { page, flow, edges, palette }) {
  const { graph, known } = page;
  let most = 0;
  for (const amount of edges.flows) most = Math.max(most, amount);
  const buckets = new Map();
  for (let k = 0; k < edges.edges.length; k++) {
    const e = edges.edges[k];
    const level = Math.min(LEVELS - 1, Math.floor(LEVELS * Math.sqrt(edges.flows[k] / most)));
    const key = 2 * level + (known.signed[e] < 0 ? 1 : 0);
    if (!buckets.has(key)) buckets.set(key, new Path2D());
    curve(buckets.get(key), flow, graph.indices[e], graph.rowNodes[edges.rows[k]]);
  }
  for (const [key, path] of [...buckets].sort((a, b) => a[0] - b[0])) {
    const level = key >> 1;
    stroke(context, path, {
      colour: key & 1 ? palette.lowers : palette.raises,
      isDashed: (key & 1) === 1,
      alpha: FAINTEST + (0.62 * (level + 0.5)) / LEVELS,
      width: 0.8 + level * 0.35,
    });
  }
}

function stroke(context, path, { colour, isDashed, alpha, width }) {
  context.globalAlpha = alpha;
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.setLineDash(isDashed ? [5, 4] : []);
  context.stroke(path);
  context.setLineDash([]);
  context.globalAlpha = 1;
}

function curve(path, flow, source, target) {
  const [x0, y0, x1, y1] = [flow.x[source], flow.y[source], flow.x[target], flow.y[target]];
  const bend = (y0 - y1) * 0.45;
  path.moveTo(x0, y0);
  path.bezierCurveTo(x0, y0 - bend, x1, y1 + bend, x1, y1);
}

/** Words under their column, answers above, and of the strongest nodes their labels where there is room. */
function names(context, { page, flow, nodes, labelOf, palette, camera, width, height, ratio }) {
  const { graph, known } = page;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const at = (i) => [flow.x[i] * camera.zoom + camera.x, flow.y[i] * camera.zoom + camera.y];
  const taken = [];
  const free = (box) => taken.every((other) => box[0] > other[2] || box[2] < other[0] || box[1] > other[3] || box[3] < other[1]);
  const write = (text, x, y, { colour, bold = false, most = 160 }) => {
    context.font = `${bold ? '600 ' : ''}13px ${FONT}`;
    let shownText = text;
    while (shownText.length > 2 && context.measureText(shownText).width > most) shownText = `${shownText.replace(/…$/, '').slice(0, -1)}…`;
    const half = context.measureText(shownText).width / 2 + 3;
    x = Math.min(Math.max(x, half + 2), width - half - 2);
    const box = [x - half, y - 9, x + half, y + 9];
    if (!free(box)) return;
    taken.push(box);
    context.lineWidth = 4;
    context.lineJoin = 'round';
    context.strokeStyle = palette.page;
    context.strokeText(shownText, x, y);
    context.fillStyle = palette[colour];
    context.fillText(shownText, x, y);
  };
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  const order = [];
  for (let i = 0; i < nodes.length; i++) {
    if (!nodes[i]) continue;
    const [x, y] = at(i);
    if (x < -40 || x > width + 40 || y < -20 || y > height + 20) continue;
    if (graph.kind[i] === TOKEN) write(labelOf(i), x, y + 19, { colour: 'ink', most: flow.columns[Math.max(graph.position[i], 0)].width * camera.zoom - 4 });
    else if (graph.kind[i] === LOGIT) write(labelOf(i), x, y - 18, { colour: 'ink', bold: true });
    else order.push(i);
  }
  order.sort((a, b) => known.reached[b] - known.reached[a]);
  for (const i of order.slice(0, Math.round(14 * camera.zoom ** 2))) {
    const [x, y] = at(i);
    write(labelOf(i), x, y - flow.size[i] * camera.zoom - 10, { colour: 'muted', most: 190 });
  }
  context.textAlign = 'start';
}

/** What follows the pointer and the selection: edges in and out, rings, the lasso. */
export function paintOver(context, scene) {
  const { page, flow, nodes, palette, camera, width, height, ratio, selected, hovered, lasso, marked } = scene;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  inWorld(context, camera, ratio);
  for (const node of selected.slice(0, 200)) edgesOf(context, scene, node, selected.length > 12 ? 6 : 40);
  if (hovered >= 0 && !selected.includes(hovered)) edgesOf(context, scene, hovered, 12);
  const ring = (node, colour, wide) => {
    if (!nodes[node]) return;
    context.beginPath();
    context.arc(flow.x[node], flow.y[node], flow.size[node] + 3.5, 0, 2 * Math.PI);
    context.strokeStyle = colour;
    context.lineWidth = wide;
    context.stroke();
  };
  for (const node of marked) ring(node, palette.accent, 1.2);
  for (const node of selected) ring(node, palette.ink, 2.2);
  if (hovered >= 0) ring(hovered, palette.accent, 2.2);
  const { graph, known } = page;
  for (const node of [...selected, ...(hovered >= 0 ? [hovered] : [])]) {
    if (!nodes[node]) continue;
    const { shape, colour, isHollow } = glyphOf(graph, known, node);
    context.beginPath();
    trace(context, shape, flow.x[node], flow.y[node], flow.size[node]);
    context.fillStyle = isHollow ? palette.page : palette[colour];
    context.strokeStyle = palette[colour];
    context.lineWidth = 1.6;
    context.fill();
    context.stroke();
  }
  if (lasso) {
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = palette.accent;
    context.globalAlpha = 0.1;
    context.fillRect(lasso[0], lasso[1], lasso[2] - lasso[0], lasso[3] - lasso[1]);
    context.globalAlpha = 1;
    context.strokeStyle = palette.accent;
    context.setLineDash([4, 3]);
    context.lineWidth = 1.2;
    context.strokeRect(lasso[0], lasso[1], lasso[2] - lasso[0], lasso[3] - lasso[1]);
    context.setLineDash([]);
  }
}

/** The strongest drawn edges into and out of a node. */
function edgesOf(context, { page, flow, nodes, palette }, node, most) {
  const { graph, known } = page;
  const found = [];
  const row = graph.rowOf[node];
  if (row >= 0) for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) if (nodes[graph.indices[e]]) found.push([e, graph.indices[e], node]);
  const into = strongest(found, known, most);
  const outOf = [];
  for (let k = known.out.indptr[node]; k < known.out.indptr[node + 1]; k++) {
    const target = graph.rowNodes[known.out.rows[known.out.edges[k]]];
    if (nodes[target]) outOf.push([known.out.edges[k], node, target]);
  }
  for (const [e, source, target] of [...into, ...strongest(outOf, known, most)]) {
    const path = new Path2D();
    curve(path, flow, source, target);
    const share = Math.abs(known.signed[e]);
    const isDashed = known.signed[e] < 0;
    stroke(context, path, { colour: isDashed ? palette.lowers : palette.raises, isDashed, alpha: 0.25 + 0.7 * Math.min(1, 3 * share), width: 1 + 5 * share });
  }
}

const strongest = (edges, known, most) =>
  edges.filter(([e]) => known.shares[e] > 0.002).sort((a, b) => known.shares[b[0]] - known.shares[a[0]]).slice(0, most);
