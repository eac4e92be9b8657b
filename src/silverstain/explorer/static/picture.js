/**
 * A circuit as SVG: what the page shows and what is exported are the same picture.
 * @module
 */
import { colourOf, themeStyle } from './colours.js';
import { pathOf } from './layout.js';
import { inXml, percent, several, signed } from './text.js';

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
 * @param {ReturnType<typeof import('./layout.js').laidOut>} layout
 * @param {{boxes: import('./circuit.js').Box[], edges: import('./ways.js').Edge[]}} circuit
 */
export function circuitSvg(layout, circuit, { standalone = false, followsTheme = true, title = '', units = 'features' } = {}) {
  const { width, height } = layout;
  const head = standalone ? `<rect width="100%" height="100%" fill="var(--page)"/>` : '';
  const style = standalone ? `<style>${themeStyle('svg', { followsTheme })}${PICTURE_STYLE}</style>` : '';
  const parts = [
    ...layout.rows.filter((row) => row.name).map((row) => `<text class="row" x="10" y="${n(row.y + 4)}">${row.name}</text>`),
    ...layout.lines.map((line) => lineOf(line, circuit)),
    ...unreadWords(layout),
    ...layout.places.map((place) => boxOf(place, circuit.boxes[place.box], units, standalone)),
    ...layout.lines.filter((line) => line.isNamed).map((line) => weightOf(line, circuit)),
  ];
  const size = `width="${n(width)}" height="${n(height)}" viewBox="0 0 ${n(width)} ${n(height)}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" class="circuit" role="group" ${size} aria-label="${inXml(title)}"><title>${inXml(title)}</title>${style}${head}${parts.join('')}</svg>`;
}

const n = (value) => Number(value.toFixed(1));

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

/** What a screen reader says of a box. */
export function spokenOf(box, circuit, units) {
  const i = circuit.boxes.indexOf(box);
  const ends = (mine, other) =>
    circuit.edges.filter((edge) => edge[mine] === i).slice(0, 3).map((edge) => `${circuit.boxes[edge[other]].label} ${signed(edge.weight)}`).join(', ');
  const kind = { token: 'word of the prompt', logit: 'answer', error: 'what no feature explains' }[box.kind] ?? (box.isGroup ? 'group' : box.kind);
  const from = ends('target', 'source');
  const to = ends('source', 'target');
  return [box.kind === 'token' ? box.label : `${box.label} ${detailOf(box, units)}`, kind, from && `driven by ${from}`, to && `drives ${to}`].filter(Boolean).join('; ');
}

function boxOf(place, box, units, standalone) {
  const { x, y, width, height } = place;
  const [left, top] = [x - width / 2, y - height / 2];
  const kind = colourOf(box.kind, box.isAttention);
  const open = `<g class="box ${kind}" data-box="${place.box}" data-key="${inXml(box.key)}" tabindex="-1" role="button" aria-label="${inXml(box.label)}">`;
  if (box.kind === 'token') {
    const frame = `<rect class="frame" x="${n(left)}" y="${n(top)}" width="${n(width)}" height="${height}" rx="6"/>`;
    return `${open}${frame}<text class="word" x="${n(x)}" y="${n(y + 5)}" text-anchor="middle">${inXml(box.label)}</text></g>`;
  }
  const radius = box.isAttention ? 2 : 9;
  const second = box.isGroup && box.kind !== 'error' ? `<rect class="frame" x="${n(left + 4)}" y="${n(top - 4)}" width="${n(width)}" height="${height}" rx="${radius}" opacity=".45"/>` : '';
  const frame = `<rect class="frame" x="${n(left)}" y="${n(top)}" width="${n(width)}" height="${height}" rx="${radius}"/>`;
  const first = Number.isFinite(box.share) ? 21 : 31; // without a share the name stands in the middle
  const names = place.lines.map((line, k) => `<text class="name" x="${n(x)}" y="${n(top + first + 18 * k)}" text-anchor="middle">${inXml(line)}</text>`);
  const detail = `<text class="detail" x="${n(x)}" y="${n(top + 38 + 18 * (place.lines.length - 1))}" text-anchor="middle">${inXml(detailOf(box, units))}</text>`;
  const share = Number.isFinite(box.share) ? Math.min(box.share, 1) : 0;
  const room = width - 24;
  const bar = !Number.isFinite(box.share) ? '' : `<rect class="track" x="${n(left + 12)}" y="${n(top + height - 7)}" width="${n(room)}" height="3" rx="1.5"/><rect class="share" x="${n(left + 12)}" y="${n(top + height - 7)}" width="${n(Math.max(room * share, 2))}" height="3" rx="1.5"/>`;
  const pin = box.isPinned ? `<circle class="pin" cx="${n(left + width - 9)}" cy="${n(top + 9)}" r="3.5"/>` : '';
  const whole = standalone ? `<title>${inXml(box.label)}</title>` : ''; // the page shows it in another way
  return `${open}${whole}${second}${frame}${names.join(' ')} ${detail}${bar}${pin}</g>`;
}

function unreadWords(layout) {
  const y = layout.places.find((place) => place.row === 0)?.y ?? layout.height - 30;
  return layout.words.filter((word) => word.box < 0).map((word) => `<g class="unread"><text class="word" x="${n(word.x)}" y="${n(y + 5)}" text-anchor="middle">${inXml(word.text)}</text></g>`);
}

const signOf = (edge) => (edge.weight < 0 ? 'lowers' : 'raises');
const ends = (edge) => `data-source="${edge.source}" data-target="${edge.target}"`;

function lineOf(line, circuit) {
  const edge = circuit.edges[line.edge];
  const [x, y] = line.points[line.points.length - 1];
  const width = 1.3 + 5.5 * Math.min(Math.abs(edge.weight), 1);
  const size = 3.5 + width * 0.75;
  const tip =
    edge.weight < 0
      ? `<rect class="tip lowers" x="${n(x - size - 1)}" y="${n(y - 5)}" width="${n(2 * size + 2)}" height="2.6"/>`
      : `<path class="tip raises" d="M${n(x)} ${n(y - 6)}l${n(size)} ${n(size * 1.5)}h${n(-2 * size)}z"/>`;
  const kind = `line ${signOf(edge)}${edge.direct ? '' : ' indirect'}`;
  return `<g class="edge" ${ends(edge)}><path class="${kind}" stroke-width="${n(width)}" d="${pathOf(line.points)}"/>${tip}</g>`;
}

function weightOf(line, circuit) {
  const edge = circuit.edges[line.edge];
  const [x, y] = line.label;
  return `<text class="weight ${signOf(edge)}" ${ends(edge)} x="${n(x)}" y="${n(y)}" text-anchor="middle">${signed(edge.weight)}${edge.direct ? '' : '*'}</text>`;
}
