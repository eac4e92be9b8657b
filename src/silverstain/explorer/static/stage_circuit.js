/**
 * The circuit on the page: the picture, and what the pointer does with its boxes.
 * @module
 */
import { titleOf } from './account.js';
import { el } from './dom.js';
import { laidOut } from './layout.js';
import { circuitSvg, circuitTree, detailOf } from './picture.js';
import { placed } from './state.js';
import { count, signed } from './text.js';
import { Shown } from './tree.js';

const SLOP = 5;
const SPARE = 120; // drawn around what is seen, before more is

/** @param {HTMLElement} root @param {import('./store.js').Store} store */
export function circuitStage(root, store, ui) {
  const sheet = el('div.sheet');
  const lasso = el('div.lasso', { hidden: true });
  const below = el('p.more-below', { 'aria-hidden': 'true', hidden: true });
  const frame = el('div.stage.circuit-stage', { hidden: true }, sheet, below, lasso);
  root.append(frame);
  let zoom = 1;
  let drag = null;
  let layout = null;
  let shownWidth = 0;
  let seenHeight = 0;
  let region = [0, 0, 0, 0];
  const scroll = { left: 0, top: 0, isNew: false };
  const picture = new Shown(sheet);
  const units = () => (store.page.document.is_rest ? 'units' : 'features');

  function layOut() {
    const { clientWidth: width, clientHeight: height } = frame;
    const moved = drag?.moved ?? store.state.places;
    layout = store.value('layout', [store.circuit, moved, width, height], () =>
      laidOut(store.circuit, store.page.document.words, { width: Math.max(width - 2, 320), height: Math.max(height - 2, 320), moved, detailOf: (box) => detailOf(box, units()) }),
    );
    return layout;
  }

  function draw() {
    if (frame.hidden) return;
    layOut();
    const focused = sheet.contains(document.activeElement) ? document.activeElement : null;
    const width = layout.width * zoom;
    if (!drag && shownWidth !== layout.width) [scroll.left, scroll.isNew] = [Math.max((width - frame.clientWidth) / 2, 0), true];
    shownWidth = layout.width;
    show();
    if (scroll.isNew) frame.scrollLeft = scroll.left;
    scroll.isNew = false;
    if (focused !== document.activeElement && focused?.isConnected) /** @type {HTMLElement} */ (focused).focus({ preventScroll: true });
    else if (focused && !focused.isConnected) sheet.querySelector('.box[tabindex="0"]')?.focus({ preventScroll: true }); // its box is gone
  }

  /** What is near the part that is seen: of a picture wider than the screen the rest is drawn when it comes near. */
  function show() {
    const { clientWidth: width, clientHeight: height } = frame;
    const seen = [scroll.left, scroll.top, scroll.left + width, scroll.top + height];
    region = [seen[0] - width / 2, seen[1] - height / 2, seen[2] + width / 2, seen[3] + height / 2].map((value) => value / zoom);
    picture.show(circuitTree(layout, store.circuit, { title: titleOf(store.page.document), units: units(), zoom, region: /** @type {any} */ (region) }));
    mark();
    seenHeight = height;
    tellBelow();
  }

  /** How many boxes lie under the lower rim, where any do. */
  function tellBelow() {
    const rim = (scroll.top + seenHeight) / zoom;
    const n = layout.places.filter((one) => one.y + one.height / 2 > rim).length;
    const said = n ? `↓ ${count(n)} more below` : '';
    if (below.textContent === said) return;
    below.textContent = said;
    below.hidden = !n;
  }

  frame.addEventListener('scroll', () => {
    [scroll.left, scroll.top] = [frame.scrollLeft, frame.scrollTop];
    if (frame.hidden || !layout) return;
    tellBelow();
    const [left, top, right, bottom] = region.map((value) => value * zoom);
    const isOut = scroll.left < left + SPARE || scroll.top < top + SPARE || scroll.left + frame.clientWidth > right - SPARE || scroll.top + frame.clientHeight > bottom - SPARE;
    if (isOut) show();
  });

  /** The key of a box: by its place, as a key may hold what no attribute can. */
  const keyOf = (node) => store.circuit.boxes[Number(node.getAttribute('data-box'))]?.key ?? null;
  const nodeOf = (key) => [...sheet.querySelectorAll('.box')].find((node) => keyOf(node) === key);

  /** Which boxes and lines stand out: those selected or pointed at, and what they are joined to. */
  function mark() {
    const { boxes } = store.circuit;
    const keys = new Set(store.selection);
    const chosen = new Set(store.selectedNodes);
    const selected = new Set(boxes.filter((box) => keys.has(box.key) || (chosen.size && box.members.some((m) => chosen.has(m)))).map((box) => box.key));
    const hot = store.hovered ? new Set([boxKey(store.hovered)]) : selected;
    const near = new Set(hot);
    for (const node of sheet.querySelectorAll('.edge,.weight')) {
      const [source, target] = ['data-source', 'data-target'].map((end) => boxes[Number(node.getAttribute(end))]?.key);
      const touches = hot.has(source) || hot.has(target);
      node.classList.toggle('is-far', hot.size > 0 && !touches);
      if (touches) near.add(source).add(target);
    }
    const first = boxes.find((box) => selected.has(box.key)) ?? boxes.find((box) => box.kind === 'logit');
    for (const node of sheet.querySelectorAll('.box')) {
      const key = keyOf(node);
      node.classList.toggle('is-selected', selected.has(key));
      node.classList.toggle('is-hot', Boolean(store.hovered) && hot.has(key));
      node.classList.toggle('is-far', hot.size > 0 && !near.has(key));
      put(node, 'aria-pressed', String(selected.has(key)));
      put(node, 'tabindex', key === first?.key ? '0' : '-1');
    }
  }

  const put = (node, name, value) => node.getAttribute(name) !== value && node.setAttribute(name, value);

  /** The box that shows a key: its own, or the one its node is in. */
  function boxKey(key) {
    if (store.circuit.boxes.some((box) => box.key === key)) return key;
    const members = new Set(store.membersOf(key));
    return store.circuit.boxes.find((box) => box.members.some((node) => members.has(node)))?.key ?? key;
  }

  const boxAt = (event) => {
    const node = event.target.closest?.('.box');
    return node ? keyOf(node) : null;
  };

  sheet.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    const key = boxAt(event);
    const box = key && store.circuit.boxes.find((one) => one.key === key);
    drag = { key, x: event.clientX, y: event.clientY, isMoving: false, moved: null, canMove: box && box.kind !== 'token', shift: event.shiftKey };
    sheet.setPointerCapture(event.pointerId);
  });
  sheet.addEventListener('pointermove', (event) => {
    if (!drag) {
      const key = boxAt(event) ?? '';
      if (key !== store.hovered) store.hover(key);
      peekAt(event, key);
      return;
    }
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    if (!drag.isMoving && Math.hypot(dx, dy) < SLOP) return;
    drag.isMoving = true;
    ui.peek(null);
    if (drag.key && drag.canMove) {
      const [x, y] = store.state.places[drag.key] ?? [0, 0];
      drag.moved = { ...store.state.places, [drag.key]: [x + dx / zoom, y + dy / zoom] };
      draw();
    } else if (!drag.key) {
      const rect = frame.getBoundingClientRect();
      const [left, top] = [Math.min(event.clientX, drag.x) - rect.left + frame.scrollLeft, Math.min(event.clientY, drag.y) - rect.top + frame.scrollTop];
      Object.assign(lasso.style, { left: `${left}px`, top: `${top}px`, width: `${Math.abs(dx)}px`, height: `${Math.abs(dy)}px` });
      lasso.hidden = false;
    }
  });
  sheet.addEventListener('pointerup', (event) => {
    if (!drag) return;
    const { key, isMoving, moved, x, y, shift } = drag;
    drag = null;
    lasso.hidden = true;
    if (!isMoving) {
      ui.peek(null); // the inspector says more
      store.select(key ? [key] : [], { add: shift || event.ctrlKey || event.metaKey });
      if (key) nodeOf(key)?.focus({ preventScroll: true });
    } else if (moved) {
      store.apply(placed(store.state, key, ...moved[key]), 'move');
    } else if (!key) {
      const area = { left: Math.min(x, event.clientX), right: Math.max(x, event.clientX), top: Math.min(y, event.clientY), bottom: Math.max(y, event.clientY) };
      const inside = [...sheet.querySelectorAll('.box')].filter((node) => {
        const rect = node.getBoundingClientRect();
        return rect.left < area.right && rect.right > area.left && rect.top < area.bottom && rect.bottom > area.top;
      });
      store.select(inside.map(keyOf), { add: shift });
    }
  });
  sheet.addEventListener('pointercancel', () => ((drag = null), (lasso.hidden = true), draw()));
  sheet.addEventListener('pointerleave', () => (store.hover(''), ui.peek(null)));
  sheet.addEventListener('dblclick', (event) => boxAt(event) && ui.run('rename'));
  frame.addEventListener('wheel', (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    scale(zoom * Math.exp(-event.deltaY / 400));
  }, { passive: false });

  function peekAt(event, key) {
    const box = key && store.circuit.boxes.find((one) => one.key === key);
    if (!box || store.selection.includes(key)) return ui.peek(null); // the inspector says more
    const i = store.circuit.boxes.indexOf(box);
    const inputs = store.circuit.edges.filter((edge) => edge.target === i).slice(0, 3);
    return ui.peek(event, box.label, box.kind === 'token' ? 'word of the prompt' : detailOf(box, units()), inputs.map((edge) => `${signed(edge.weight)} ${store.circuit.boxes[edge.source].label}`));
  }

  function scale(to) {
    zoom = Math.min(3, Math.max(0.5, to));
    draw();
  }

  return {
    frame,
    draw,
    mark,
    zoom: (by) => scale(zoom * by),
    fit: () => scale(1),
    focus: () => {
      const node = nodeOf(boxKey(store.selection[0] ?? '')) ?? sheet.querySelector('.box[tabindex="0"]');
      node?.focus({ preventScroll: true });
      node?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    },
    svg: (options = {}) => circuitSvg(layOut(), store.circuit, { standalone: true, title: titleOf(store.page.document), units: units(), ...options }),
    /** The key of the box that an element is in, or null. */
    keyAt: (node) => (node.closest?.('.box') ? keyOf(node.closest('.box')) : null),
    /** Boxes of the same row, from left to right. */
    row: (key) => {
      const place = layOut().places.find((one) => store.circuit.boxes[one.box].key === boxKey(key));
      return place ? layout.places.filter((one) => one.row === place.row).sort((a, b) => a.x - b.x).map((one) => store.circuit.boxes[one.box].key) : [];
    },
  };
}
