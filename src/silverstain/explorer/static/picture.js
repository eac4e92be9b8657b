/**
 * A circuit as SVG: what the page shows and what is exported are the same picture.
 * @module
 */
import { colourOf, themeStyle } from './colours.js';
import { pathOf } from './layout.js';
import { percent, several, signed } from './text.js';
import { keyed, tree, written } from './tree.js';

export const FONT = "system-ui,-apple-system,'Segoe UI','Helvetica Neue','DejaVu Sans',Arial,sans-serif";

export const PICTURE_STYLE = `
.circuit text{font-family:${FONT};fill:var(--ink)}
.circuit .name{font-size:14px;font-weight:600}
.circuit .detail{font-size:12px;fill:var(--muted);font-variant-numeric:tabular-nums}
.circuit .weight{font-size:12px;font-variant-numeric:tabular-nums;paint-order:stroke;stroke:var(--page);stroke-width:4px;stroke-linejoin:round}
.circuit .row{font-size:12px;fill:var(--faint)}
.circuit .word{font-size:15px}
.circuit .unread .word{fill:var(--faint)}
.circuit .line{fill:none;stroke-linecap:butt;opacity:.82}
.circuit .raises{stroke:var(--raises)} .circuit .lowers{stroke:var(--lowers);stroke-dasharray:7 4}
.circuit .indirect{stroke-dasharray:1.5 4;stroke-linecap:round}
.circuit .tip.raises,.circuit .weight.raises{fill:var(--raises)} .circuit .tip.lowers,.circuit .weight.lowers{fill:var(--lowers)}
.circuit .tip{stroke:none}
.circuit .weight.raises,.circuit .weight.lowers{stroke:var(--page);stroke-dasharray:none}
.circuit .frame{fill:var(--raised);stroke:var(--rule);stroke-width:1.25}
.circuit .unit .frame{stroke:var(--unit);fill:var(--unit-soft)} .circuit .attention .frame{stroke:var(--attention);fill:var(--attention-soft)}
.circuit .answer .frame{stroke:var(--answer);fill:var(--answer-soft);stroke-width:2} .circuit .error .frame{stroke:var(--error);fill:var(--error-soft);stroke-dasharray:3 3}
.circuit .muted .frame{stroke:none;fill:var(--word)} .circuit .unread .frame{fill:none}
.circuit .share{fill:var(--rule)} .circuit .unit .share{fill:var(--unit)} .circuit .attention .share{fill:var(--attention)}
.circuit .answer .share{fill:var(--answer)} .circuit .error .share{fill:var(--error)} .circuit .track{fill:var(--ink);opacity:.08}
.circuit .pin{fill:var(--accent)}
`;

/**
 * @typedef {[number, number, number, number]} Region  left, top, right, bottom
 * @param {ReturnType<typeof import('./layout.js').laidOut>} layout
 * @param {{boxes: import('./circuit.js').Box[], edges: import('./ways.js').Edge[]}} circuit
 * @param {{standalone?: boolean, followsTheme?: boolean, title?: string, units?: string, zoom?: number, region?: Region|null}} [options]
 *   beyond the region lines are left out, and boxes are empty frames
 * @returns {import('./tree.js').Tree}
 */
export function circuitTree(layout, circuit, { standalone = false, followsTheme = true, title = '', units = 'features', zoom = 1, region = null } = {}) {
  const { width, height } = layout;
  const spoken = standalone ? circuit.boxes.map((box) => box.label) : spokenOf(circuit, units);
  const size = { width: n(zoom * width), height: n(zoom * height), viewBox: `0 0 ${n(width)} ${n(height)}` };
  const isNear = (left, top, right, bottom) => region === null || (left < region[2] && right > region[0] && top < region[3] && bottom > region[1]);
  // from point to point a line goes upwards, and never leaves the box between them
  const comesNear = ({ points }) => points.some(([x, y], i) => i > 0 && isNear(Math.min(x, points[i - 1][0]) - WIDEST, y - WIDEST, Math.max(x, points[i - 1][0]) + WIDEST, points[i - 1][1] + WIDEST));
  const lines = region === null ? layout.lines : layout.lines.filter(comesNear);
  const named = layout.lines.filter(({ isNamed, label: [x, y] }) => isNamed && isNear(x - HALF, y - HALF, x + HALF, y));
  const placeOf = (place) => {
    const box = circuit.boxes[place.box];
    const [w, h] = [place.width / 2, place.height / 2];
    return keyed(`box ${box.key}`, boxOf(place, box, { units, standalone, spoken: spoken[place.box], isNear: isNear(place.x - w, place.y - h, place.x + w, place.y + h) }));
  };
  return tree('svg', { xmlns: 'http://www.w3.org/2000/svg', class: 'circuit', role: 'group', ...size, 'aria-label': title },
    tree('title', {}, title),
    standalone ? tree('style', {}, `${themeStyle('svg', { followsTheme })}${PICTURE_STYLE}`) : '',
    standalone ? tree('rect', { width: '100%', height: '100%', fill: 'var(--page)' }) : '',
    layout.rows.flatMap((row, i) => (row.name ? [keyed(`row ${i}`, tree('text', { class: 'row', transform: at(10, row.y + 4) }, row.name))] : [])),
    lines.map((line) => keyed(`line ${nameOf(line, circuit)}`, lineOf(line, circuit))),
    unreadWords(layout),
    layout.places.map(placeOf),
    named.map((line) => keyed(`weight ${nameOf(line, circuit)}`, weightOf(line, circuit))));
}

/** The same as text. @param {ReturnType<typeof import('./layout.js').laidOut>} layout */
export const circuitSvg = (layout, circuit, options = {}) => written(circuitTree(layout, circuit, options));

const HALF = 24; // of the width of a weight
const WIDEST = 9; // half of a line and its tip
const n = (value) => Number(value.toFixed(1));
const at = (x, y) => `translate(${n(x)} ${n(y)})`;
const nameOf = (line, { boxes, edges }) => `${boxes[edges[line.edge].source].key} > ${boxes[edges[line.edge].target].key}`;

/** The line under a name: its share, and what stands behind it. */
export function detailOf(box, units = 'features') {
  const arrow = { 1: ' ↑', '-1': ' ↓' }[box.sign] ?? '';
  const share = percent(box.share, box.kind === 'logit' ? 1 : 0) + arrow;
  let behind = '';
  if (box.isGroup && box.members.length === 1) behind = several(1, units.replace(/s$/, ''));
  else if (box.name && !box.label.includes(box.name)) behind = box.name.startsWith(`${box.label}@`) ? `@${box.position}` : box.name;
  else if (!box.name && box.kind !== 'logit') behind = several(box.members.length, box.kind === 'error' ? 'node' : units.replace(/s$/, ''));
  return [share, behind].filter(Boolean).join(' · ');
}

/** What a screen reader says of each box. */
export function spokenOf({ boxes, edges }, units) {
  const [into, outOf] = [boxes.map(() => []), boxes.map(() => [])];
  const join = (list, other, weight) => list.length < 3 && list.push(`${boxes[other].label} ${signed(weight)}`);
  for (const { source, target, weight } of edges) {
    join(into[target], source, weight);
    join(outOf[source], target, weight);
  }
  return boxes.map((box, i) => {
    const kind = { token: 'word of the prompt', logit: 'answer', error: 'what no feature explains' }[box.kind] ?? (box.isGroup ? 'group' : box.kind);
    const [from, to] = [into[i].join(', '), outOf[i].join(', ')];
    return [box.kind === 'token' ? box.label : `${box.label} ${detailOf(box, units)}`, kind, from && `driven by ${from}`, to && `drives ${to}`].filter(Boolean).join('; ');
  });
}

/** A box is drawn around its corner, so that one that only stands elsewhere is moved and not drawn again. */
function boxOf(place, box, { units, standalone, spoken, isNear }) {
  const { x, y, height } = place;
  const width = n(place.width);
  const middle = n(width / 2);
  const kind = colourOf(box.kind, box.isAttention);
  const given = { class: `box ${kind}`, transform: at(x - width / 2, y - height / 2), 'data-box': place.box, 'data-key': box.key, tabindex: -1, role: 'button', 'aria-label': spoken };
  if (!isNear) return tree('g', given, tree('rect', { class: 'frame', width, height, rx: 6 }));
  if (box.kind === 'token') {
    return tree('g', given, tree('rect', { class: 'frame', width, height, rx: 6 }), tree('text', { class: 'word', x: middle, y: height / 2 + 5, 'text-anchor': 'middle' }, box.label));
  }
  const isKnown = Number.isFinite(box.share);
  const rx = box.isAttention ? 2 : 9;
  const first = isKnown ? 21 : 31; // without a share the name stands in the middle
  const bar = { y: height - 7, height: 3, rx: 1.5 };
  return tree('g', given,
    standalone ? tree('title', {}, box.label) : '', // the page shows it in another way
    box.isGroup && box.kind !== 'error' ? tree('rect', { class: 'frame', x: 4, y: -4, width, height, rx, opacity: 0.45 }) : '',
    tree('rect', { class: 'frame', width, height, rx }),
    place.lines.map((line, k) => tree('text', { class: 'name', x: middle, y: first + 18 * k, 'text-anchor': 'middle' }, standalone ? `${line} ` : line)),
    tree('text', { class: 'detail', x: middle, y: 38 + 18 * (place.lines.length - 1), 'text-anchor': 'middle' }, detailOf(box, units)),
    isKnown ? tree('rect', { class: 'track', x: 12, ...bar, width: n(width - 24) }) : '',
    isKnown ? tree('rect', { class: 'share', x: 12, ...bar, width: n(Math.max((width - 24) * Math.min(box.share, 1), 2)) }) : '',
    box.isPinned ? tree('circle', { class: 'pin', cx: n(width - 9), cy: 9, r: 3.5 }) : '');
}

function unreadWords(layout) {
  const y = layout.places.find((place) => place.row === 0)?.y ?? layout.height - 30;
  const text = (word) => tree('g', { class: 'unread' }, tree('text', { class: 'word', transform: at(word.x, y + 5), 'text-anchor': 'middle' }, word.text));
  return layout.words.filter((word) => word.box < 0).map((word, i) => keyed(`unread ${i}`, text(word)));
}

const signOf = (edge) => (edge.weight < 0 ? 'lowers' : 'raises');
const ends = (edge) => ({ 'data-source': edge.source, 'data-target': edge.target });

function lineOf(line, circuit) {
  const edge = circuit.edges[line.edge];
  const [x, y] = line.points[line.points.length - 1];
  const width = n(1.3 + 5.5 * Math.min(Math.abs(edge.weight), 1));
  const size = 3.5 + width * 0.75;
  const tip =
    edge.weight < 0
      ? tree('rect', { class: 'tip lowers', x: n(-size - 1), y: -5, width: n(2 * size + 2), height: 2.6, transform: at(x, y) })
      : tree('path', { class: 'tip raises', d: `M0 -6l${n(size)} ${n(size * 1.5)}h${n(-2 * size)}z`, transform: at(x, y) });
  return tree('g', { class: 'edge', ...ends(edge) }, tree('path', { class: `line ${signOf(edge)}${edge.direct ? '' : ' indirect'}`, 'stroke-width': width, d: pathOf(line.points) }), tip);
}

function weightOf(line, circuit) {
  const edge = circuit.edges[line.edge];
  const [x, y] = line.label;
  return tree('text', { class: `weight ${signOf(edge)}`, ...ends(edge), transform: at(x, y), 'text-anchor': 'middle' }, `${signed(edge.weight)}${edge.direct ? '' : '*'}`);
}
