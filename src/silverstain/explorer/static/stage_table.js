/**
 * What is drawn as a table: the twin of the picture for those who do not see it, and for sorting.
 * @module
 */
import { button, el, fill } from './dom.js';
import { KINDS, isUnit } from './format.js';
import { count, percent, signed } from './text.js';

const MOST_ROWS = 500;
const COLUMNS = [
  ['name', 'name'],
  ['kind', 'kind'],
  ['layer', 'layer'],
  ['position', 'at'],
  ['share', 'share of influence'],
  ['input', 'strongest input'],
  ['output', 'strongest output'],
];

/** @param {HTMLElement} root @param {import('./store.js').Store} store */
export function tableStage(root, store) {
  const frame = el('div.stage.table-stage', { hidden: true });
  root.append(frame);
  /** @type {[string, number]} */
  let order = ['share', -1];

  const sorted = () => {
    const [column, way] = order;
    return rowsOf(store).sort((a, b) => {
      const [one, other] = [a.sort[column] ?? a[column], b.sort[column] ?? b[column]];
      return way * (typeof one === 'number' ? one - other : String(one).localeCompare(String(other)));
    });
  };

  function draw() {
    if (frame.hidden) return;
    const rows = sorted();
    const head = COLUMNS.map(([column, title]) =>
      el('th', { scope: 'col', 'aria-sort': order[0] === column ? (order[1] < 0 ? 'descending' : 'ascending') : null },
        button(title, () => ((order = [column, order[0] === column ? -order[1] : column === 'share' ? -1 : 1]), draw()), { class: 'link', 'data-focus': `sort-${column}` })));
    const body = rows.slice(0, MOST_ROWS).map((row) =>
      el('tr', { 'data-key': row.key },
        ...COLUMNS.map(([column], i) => (i ? el(`td${column === 'share' ? '.figure' : ''}`, {}, row[column]) : el('th', { scope: 'row' }, button(row.name, () => store.select([row.key]), { class: 'reference', 'data-key': row.key, 'data-focus': `row-${row.key}` }))))));
    fill(frame, el('table', {}, el('caption', {}, `What is drawn: ${count(rows.length)} rows${rows.length > MOST_ROWS ? `, the first ${MOST_ROWS} of them here` : ''}`), el('thead', {}, el('tr', {}, ...head)), el('tbody', {}, ...body)));
    mark();
  }

  function mark() {
    for (const node of frame.querySelectorAll('tr[data-key]')) node.classList.toggle('is-selected', store.selection.includes(node.getAttribute('data-key')));
  }

  return {
    frame,
    draw,
    mark,
    zoom: () => undefined,
    fit: () => undefined,
    focus: () => (frame.querySelector('tr.is-selected button') ?? frame.querySelector('tbody button'))?.focus(),
    row: () => [],
  };
}

/** A row a box: they are few, and the same as in the picture. */
export function rowsOf(store) {
  const { boxes, edges } = store.circuit;
  const { document, graph, known } = store.page;
  const strongest = (i, mine, other) => {
    const edge = edges.filter((one) => one[mine] === i).sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight))[0];
    return edge ? `${boxes[edge[other]].label} ${signed(edge.weight)}` : '';
  };
  return boxes.map((box, i) => {
    const isEnd = ['token', 'logit', 'error'].includes(box.kind);
    const only = box.members.length === 1 ? box.members[0] : -1;
    const kind = box.isGroup ? (box.members.length === 1 ? `a ${KINDS[graph.kind[only]]}, named` : `group of ${box.members.length}`) : only >= 0 && isUnit(graph, only) ? KINDS[graph.kind[only]] : ({ token: 'word', logit: 'answer' }[box.kind] ?? box.kind);
    const share = box.kind === 'logit' ? box.share : box.members.reduce((sum, node) => sum + known.reached[node], 0) / Math.max(known.total, Number.MIN_VALUE);
    return {
      key: box.key,
      name: box.label,
      kind,
      layer: isEnd ? '' : `${Math.round(10 * box.layer) / 10}`,
      position: box.positions.slice(0, 4).map((at) => document.tokens[at] ?? at).join(' ') + (box.positions.length > 4 ? ' …' : ''),
      share: box.kind === 'logit' ? `${percent(share, 1)} (probability)` : percent(share, 1),
      input: strongest(i, 'target', 'source'),
      output: strongest(i, 'source', 'target'),
      sort: { layer: box.layer, share: Number.isFinite(share) ? share : -1, position: box.positions[0] ?? -1 },
    };
  });
}
