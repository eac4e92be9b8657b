/**
 * The whole flow, small, with the part of it that is seen as a frame: a click or a drag moves it.
 * @module
 */
import { glyphOf } from './glyphs.js';
import { el } from './dom.js';

const [WIDTH, HEIGHT] = [168, 108];

/** Where the frame stands in the small picture, and the scale. */
export function frameOf(flow, camera, width, height, room = [WIDTH, HEIGHT]) {
  const scale = Math.min(room[0] / flow.width, room[1] / flow.height);
  return { scale, x: (-camera.x / camera.zoom) * scale, y: (-camera.y / camera.zoom) * scale, width: (width / camera.zoom) * scale, height: (height / camera.zoom) * scale };
}

/** @param {HTMLElement} root @param {(x: number, y: number) => void} moveTo  puts this point of the flow into the middle */
export function minimap(root, moveTo) {
  const canvas = el('canvas.minimap', { 'aria-hidden': 'true', hidden: true });
  root.append(canvas);
  let scale = 1;
  let painted = null;
  const picture = document.createElement('canvas');
  const go = (event) => {
    const rect = canvas.getBoundingClientRect();
    moveTo((event.clientX - rect.left) / scale, (event.clientY - rect.top) / scale);
  };
  canvas.addEventListener('pointerdown', (event) => (canvas.setPointerCapture(event.pointerId), go(event)));
  canvas.addEventListener('pointermove', (event) => event.buttons && go(event));

  /** Draw what is seen; hidden where all of it is. */
  return ({ page, flow, nodes, palette, camera, width, height, ratio }) => {
    const seen = frameOf(flow, camera, width, height);
    scale = seen.scale;
    canvas.hidden = seen.x <= 1 && seen.y <= 1 && seen.x + seen.width >= flow.width * scale - 1 && seen.y + seen.height >= flow.height * scale - 1;
    if (canvas.hidden) return;
    const size = [Math.round(flow.width * scale), Math.round(flow.height * scale)];
    if (canvas.width !== size[0] * ratio || canvas.height !== size[1] * ratio) {
      Object.assign(canvas, { width: size[0] * ratio, height: size[1] * ratio });
      Object.assign(canvas.style, { width: `${size[0]}px`, height: `${size[1]}px` });
      painted = null;
    }
    if (painted?.flow !== flow || painted?.palette !== palette) {
      Object.assign(picture, { width: canvas.width, height: canvas.height });
      paint(picture.getContext('2d'), { page, flow, nodes, palette, scale, ratio });
      painted = { flow, palette };
    }
    const context = canvas.getContext('2d');
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(picture, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.strokeStyle = palette.accent;
    context.lineWidth = 1.5;
    context.strokeRect(Math.max(seen.x, 1), Math.max(seen.y, 1), Math.min(seen.width, size[0] - Math.max(seen.x, 1) - 1), Math.min(seen.height, size[1] - Math.max(seen.y, 1) - 1));
  };
}

function paint(context, { page, flow, nodes, palette, scale, ratio }) {
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = palette.raised;
  context.fillRect(0, 0, WIDTH, HEIGHT);
  for (let i = 0; i < nodes.length; i++) {
    if (!nodes[i]) continue;
    context.fillStyle = palette[glyphOf(page.graph, page.known, i).colour];
    const side = Math.max(1, flow.size[i] * scale * 1.6);
    context.fillRect(flow.x[i] * scale - side / 2, flow.y[i] * scale - side / 2, side, side);
  }
}
