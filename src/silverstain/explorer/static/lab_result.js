/**
 * What an experiment came to: the answers before and after, what the model goes on to say, and what the graph had
 * predicted beside what was measured.
 * @module
 */
import { el } from './dom.js';
import { answersOf, outcomeOf, spearman } from './experiments.js';
import { brief, percent, signed } from './text.js';

const SVG = 'http://www.w3.org/2000/svg';
const SIDE = 190;
const PAD = 14;
const MOST_ROWS = 6;

/** @param {any} entry  evidence, whole or as far as it has come @param {(id: string) => string} nameOf */
export function resultParts(entry, nameOf, select) {
  const rows = answersOf(entry);
  const hasControl = rows.some((row) => row.control !== undefined);
  const parts = [];
  if (rows.length) {
    parts.push(el('div.outcome', {}, el('h3', {}, outcomeOf(entry)), verdictOf(entry, hasControl), answersTable(rows, hasControl)));
  }
  const said = entry.generated;
  if (said && (said.baseline || said.edited)) {
    parts.push(el('div.texts', {}, el('h3', {}, 'It goes on'), line('unchanged', said.baseline), line('changed', said.edited)));
  }
  if (entry.compared) parts.push(comparedParts(entry.compared, nameOf, select));
  return parts;
}

const line = (name, text) => el('p.goes', {}, el('span.quiet', {}, name), el('span.serif', { lang: '' }, text || '…'));

function verdictOf(entry, hasControl) {
  const control = entry.control ?? null;
  const kl = entry.kl ?? entry.result?.kl;
  const size = Number.isFinite(kl) ? ` It moved what the model says by ${brief(kl)} nats` : '';
  if (control && Number.isFinite(control.kl)) return el('p.quiet', {}, `${size}; as many random ones, changed as much, by ${brief(control.kl)}${control.changed ? ', and they change the answer too' : ''}.`.trim());
  return size ? el('p.quiet', {}, `${size}${hasControl ? '; beside it the control that moves most.' : '.'}`.trim()) : '';
}

function answersTable(rows, hasControl) {
  const bar = (value, kind) => el('span.chance', {}, el(`i.${kind}`, { 'aria-hidden': 'true', style: { width: `${Math.round(1000 * value) / 10}%` } }), el('span.figure', {}, percent(value, 1)));
  const cells = (row) => [el('th', { scope: 'row', lang: '' }, row.token.trim() || row.token), el('td', {}, bar(row.before, 'before')), el('td', {}, bar(row.after, 'after')), ...(hasControl ? [el('td', {}, bar(row.control ?? 0, 'control'))] : [])];
  const head = ['answer', 'unchanged', 'changed', ...(hasControl ? ['control'] : [])];
  return el('table.answers', {}, el('thead', {}, el('tr', {}, ...head.map((name) => el('th', { scope: 'col' }, name)))), el('tbody', {}, ...rows.slice(0, MOST_ROWS).map((row) => el('tr', {}, ...cells(row)))));
}

function comparedParts({ rows = [], why = '' }, nameOf, select) {
  if (!rows.length) return el('div.compared', {}, el('h3', {}, 'Predicted and measured'), el('p.quiet', {}, why || 'The graph says nothing of what this change reaches.'));
  const features = rows.filter((row) => row.kind === 'feature');
  const moved = features.filter((row) => Math.abs(row.predicted) > 1e-4 || Math.abs(row.measured) > 1e-4);
  const rank = spearman(moved.map((row) => row.predicted), moved.map((row) => row.measured));
  const answers = rows.filter((row) => row.kind === 'answer').map((row) => el('p.goes', {}, el('span.quiet', { title: 'change of its logit' }, row.name ?? nameOf(row.id)), el('span.figure', {}, `predicted ${signed(row.predicted)}, measured ${signed(row.measured)}`)));
  const line_ = Number.isFinite(rank) ? `${moved.length} features that it reaches, as a share of what each is; rank correlation ${signed(rank)}.` : '';
  return el('div.compared', {}, el('h3', {}, 'Predicted and measured'), ...answers.slice(0, 4), moved.length ? scatter(moved, nameOf, select) : '', line_ ? el('p.quiet', {}, line_) : '');
}

function scatter(rows, nameOf, select) {
  const clip = (value) => Math.max(-1.5, Math.min(1.5, value));
  const at = (value) => PAD + ((clip(value) + 1.5) / 3) * (SIDE - 2 * PAD);
  const svg = document.createElementNS(SVG, 'svg');
  const put = (tag, attributes, text = '') => {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
    node.textContent = text;
    svg.append(node);
    return node;
  };
  for (const [key, value] of Object.entries({ width: SIDE, height: SIDE, viewBox: `0 0 ${SIDE} ${SIDE}`, role: 'img', class: 'scatter', 'aria-label': `predicted against measured changes of ${rows.length} features` })) svg.setAttribute(key, String(value));
  put('path', { d: `M${at(-1.5)} ${SIDE - at(0)}H${at(1.5)}M${at(0)} ${SIDE - at(-1.5)}V${SIDE - at(1.5)}`, class: 'axis' });
  put('path', { d: `M${at(-1.5)} ${SIDE - at(-1.5)}L${at(1.5)} ${SIDE - at(1.5)}`, class: 'diagonal' });
  for (const row of rows) {
    const node = put('circle', { cx: at(row.predicted), cy: SIDE - at(row.measured), r: 3.5, class: row.predicted * row.measured < 0 ? 'wrong' : 'right' });
    const title = document.createElementNS(SVG, 'title');
    title.textContent = `${nameOf(row.id)}: predicted ${signed(row.predicted)}, measured ${signed(row.measured)}`;
    node.append(title);
    node.addEventListener('click', () => select(row.id));
  }
  put('text', { x: SIDE - PAD, y: SIDE - at(0) - 4, 'text-anchor': 'end' }, 'predicted');
  put('text', { x: at(0) + 4, y: PAD }, 'measured');
  return svg;
}
