/**
 * The flow on the page: its canvases, a camera, and what the pointer does.
 * @module
 */
import { titleOf } from './account.js';
import { paletteNow } from './colours.js';
import { el } from './dom.js';
import { flowLayout, hitGrid } from './flow.js';
import { flowSvg } from './flow_picture.js';
import { minimap } from './minimap.js';
import { paintEdges, paintNodes, paintOver } from './paint.js';
import { percent } from './text.js';

const SLOP = 5;
const EDGE = 24;

/** @param {HTMLElement} root @param {import('./store.js').Store} store */
export function flowStage(root, store, ui) {
  const lines = el('canvas.lines', { 'aria-hidden': 'true' });
  const below = el('canvas', { 'aria-hidden': 'true' });
  const above = el('canvas.above', { tabindex: '0', role: 'application', 'aria-label': 'The flow: every node that is drawn. Arrow keys walk along the strongest edges; key 3 shows the same as a table.' });
  const frame = el('div.stage.flow-stage', { hidden: true }, lines, below, above);
  root.append(frame);
  const small = minimap(frame, (x, y) => {
    camera = { ...camera, x: frame.clientWidth / 2 - x * camera.zoom, y: frame.clientHeight / 2 - y * camera.zoom };
    draw();
  });
  let camera = { x: 0, y: 0, zoom: 1 };
  let fitted = '';
  let drag = null;
  let lasso = null;
  let frameAsked = 0;
  let painted = [];
  let revealed = '';

  function sized() {
    const { clientWidth: width, clientHeight: height } = frame;
    const ratio = Math.min(globalThis.devicePixelRatio || 1, 2);
    for (const canvas of [lines, below, above]) {
      const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
      if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    }
    return { width, height, ratio };
  }

  function scene() {
    const size = sized();
    const { nodes } = store.visible;
    const flow = store.value('flowLayout', [nodes, size.width, size.height], () => flowLayout(store.page, nodes, size));
    if (fitted !== `${size.width} ${size.height}`) {
      fitted = `${size.width} ${size.height}`;
      camera = fit(flow, size);
    }
    const hit = store.value('hit', [flow, nodes], () => hitGrid(flow, nodes));
    return { ...size, page: store.page, flow, nodes, hit, edges: store.edges, palette: paletteNow(), camera, labelOf: (i) => store.labelOf(i) };
  }

  function fit(flow, { width, height }) {
    const zoom = Math.min(1.6, Math.max(0.4, Math.min(width / flow.width, height / flow.height)));
    return { zoom, x: Math.max((width - flow.width * zoom) / 2, 0), y: (height - flow.height * zoom) / 2 };
  }

  /** A node that was selected from elsewhere, or walked to, is brought into view. */
  function reveal({ flow, nodes, width, height }) {
    const key = store.selection.join('\n');
    if (key === revealed) return;
    revealed = key;
    const [node] = store.selectedNodes;
    if (store.selectedNodes.length !== 1 || !nodes[node]) return;
    const [x, y] = [flow.x[node] * camera.zoom + camera.x, flow.y[node] * camera.zoom + camera.y];
    if (x > EDGE && x < width - EDGE && y > EDGE && y < height - EDGE) return;
    const into = (at, size) => Math.min(Math.max(at, size / 3), (2 * size) / 3) - at;
    camera = { ...camera, x: camera.x + into(x, width), y: camera.y + into(y, height) };
  }

  function draw() {
    if (frame.hidden || frameAsked) return;
    frameAsked = requestAnimationFrame(() => {
      frameAsked = 0;
      if (frame.hidden) return;
      reveal(scene());
      const now = scene();
      lines.classList.toggle('is-faded', store.selectedNodes.length > 0);
      const looks = [now.flow, now.edges, now.palette, now.camera, now.width, now.height, now.ratio, store.state.labels];
      if (looks.some((one, i) => one !== painted[i])) {
        paintEdges(lines.getContext('2d'), now);
        paintNodes(below.getContext('2d'), now);
        small(now);
      }
      painted = looks;
      over(now);
    });
  }

  let overAsked = 0;
  function mark() {
    if (frame.hidden || overAsked) return;
    overAsked = requestAnimationFrame(() => {
      overAsked = 0;
      if (!frame.hidden) over(scene());
    });
  }

  function over(now) {
    const hovered = store.hovered ? (store.membersOf(store.hovered)[0] ?? -1) : -1;
    const many = store.hovered && store.membersOf(store.hovered).length > 1 ? store.membersOf(store.hovered) : [];
    const pins = store.state.pins.flatMap((id) => store.page.index.get(id) ?? []);
    paintOver(above.getContext('2d'), { ...now, selected: store.selectedNodes, hovered: many.length ? -1 : hovered, marked: [...pins, ...many], lasso });
  }

  const inFlow = (event) => {
    const rect = above.getBoundingClientRect();
    return [(event.clientX - rect.left - camera.x) / camera.zoom, (event.clientY - rect.top - camera.y) / camera.zoom];
  };
  const nodeAt = (event) => scene().hit(...inFlow(event));

  above.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    const rect = above.getBoundingClientRect();
    drag = { x: event.clientX, y: event.clientY, from: [event.clientX - rect.left, event.clientY - rect.top], camera, shift: event.shiftKey, isMoving: false };
    above.setPointerCapture(event.pointerId);
  });
  above.addEventListener('pointermove', (event) => {
    if (!drag) {
      const node = nodeAt(event);
      store.hover(node >= 0 ? store.page.graph.ids[node] : '');
      above.style.cursor = node >= 0 ? 'pointer' : 'grab';
      if (node < 0) return ui.peek(null);
      const { known, graph } = store.page;
      return ui.peek(event, store.labelOf(node), `${graph.names[node] === store.labelOf(node) ? '' : `${graph.names[node]} · `}${percent(known.total ? known.reached[node] / known.total : 0, 1)} of the influence`, []);
    }
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    if (!drag.isMoving && Math.hypot(dx, dy) < SLOP) return undefined;
    drag.isMoving = true;
    ui.peek(null);
    if (drag.shift) {
      lasso = [drag.from[0], drag.from[1], drag.from[0] + dx, drag.from[1] + dy];
      mark();
    } else {
      camera = { ...drag.camera, x: drag.camera.x + dx, y: drag.camera.y + dy };
      draw();
    }
    return undefined;
  });
  above.addEventListener('pointerup', (event) => {
    if (!drag) return;
    const { isMoving, shift } = drag;
    drag = null;
    const { graph } = store.page;
    if (!isMoving) {
      const node = nodeAt(event);
      store.select(node >= 0 ? [graph.ids[node]] : [], { add: event.shiftKey || event.ctrlKey || event.metaKey });
    } else if (shift && lasso) {
      const now = scene();
      const [x0, x1] = [lasso[0], lasso[2]].map((x) => (x - camera.x) / camera.zoom).sort((a, b) => a - b);
      const [y0, y1] = [lasso[1], lasso[3]].map((y) => (y - camera.y) / camera.zoom).sort((a, b) => a - b);
      const inside = graph.ids.filter((_, i) => now.nodes[i] && now.flow.x[i] >= x0 && now.flow.x[i] <= x1 && now.flow.y[i] >= y0 && now.flow.y[i] <= y1);
      lasso = null;
      store.select(inside);
    }
  });
  above.addEventListener('pointerleave', () => (store.hover(''), ui.peek(null)));
  above.addEventListener('wheel', (event) => {
    event.preventDefault();
    const rect = above.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey || !event.shiftKey) zoomAt(Math.exp(-event.deltaY / 500), event.clientX - rect.left, event.clientY - rect.top);
    else {
      camera = { ...camera, x: camera.x - event.deltaY };
      draw();
    }
  }, { passive: false });

  function zoomAt(by, x, y) {
    const zoom = Math.min(8, Math.max(0.2, camera.zoom * by));
    const real = zoom / camera.zoom;
    camera = { zoom, x: x - (x - camera.x) * real, y: y - (y - camera.y) * real };
    draw();
  }

  return {
    frame,
    draw,
    mark,
    zoom: (by) => zoomAt(by, frame.clientWidth / 2, frame.clientHeight / 2),
    fit: () => ((fitted = ''), draw()),
    focus: () => above.focus({ preventScroll: true }),
    svg: (options = {}) => flowSvg(scene(), { title: titleOf(store.page.document), ...options }),
    /** Nodes at the same height, from left to right. */
    row: (key) => {
      const { flow, nodes } = scene();
      const [node] = store.membersOf(key);
      if (node === undefined || !nodes[node]) return [];
      const { graph } = store.page;
      const same = graph.ids.flatMap((_, i) => (nodes[i] && graph.depth[i] === graph.depth[node] ? [i] : []));
      return same.sort((a, b) => flow.x[a] - flow.x[b] || flow.y[a] - flow.y[b]).map((i) => graph.ids[i]);
    },
    /** Where a node stands on the screen, for tests. */
    place: (id) => {
      const { flow } = scene();
      const node = store.page.index.get(id);
      const rect = above.getBoundingClientRect();
      return [flow.x[node] * camera.zoom + camera.x + rect.left, flow.y[node] * camera.zoom + camera.y + rect.top];
    },
  };
}
