/**
 * Where the boxes and lines of a circuit stand: words at the bottom in the order of the prompt, answers at the top,
 * in between a box above all that feed it. Lines that pass a row are given room in it.
 * @module
 */

const LETTER = 7.4; // width of a letter of a name, of 14 px
const NARROW = 6.3; // of 12 px
const GAP = 26;
const LANE = 12; // room for a line that passes between boxes
const ENTRY = 46; // room for one weight under a box
const BARE = 15; // for a line without one
const MOST_WEIGHTS = 6; // under one box, of the strongest lines; the others are read where the box is selected
const NARROWEST = 96;
const WIDEST_TEXT = 186;
const WORD_GAP = 10;
const MARGIN = 28;
const LEAST_GAP = 40; // between rows: a weight, the tip of a line, and a bend
const GUTTER = 36; // on either side, for the names of the rows
const MOST_ROWS = 7;

/**
 * @typedef {{box: number, x: number, y: number, width: number, height: number, lines: string[], row: number}} Place  x, y: its centre
 * @typedef {{edge: number, points: [number, number][], label: [number, number], isNamed: boolean}} Line
 * @typedef {{x: number, text: string, box: number, width: number, start: number}} Word  box: -1 where nothing reads it
 * @param {{boxes: import('./circuit.js').Box[], edges: import('./ways.js').Edge[]}} circuit
 * @param {[number, number, string][]} words  of the prompt: start, stop, text
 * @returns {{width: number, height: number, places: Place[], lines: Line[], words: Word[], rows: {y: number, name: string}[]}}
 */
export function laidOut({ boxes, edges }, words, { width = 800, height = 600, moved = {}, detailOf = (/** @type {any} */ _box) => /** @type {string} */ ('') } = {}) {
  const rank = ranks(boxes, edges);
  const entries = new Int32Array(boxes.length);
  for (const edge of edges) entries[edge.target]++;
  const nRows = Math.max(2, ...rank.map((r) => r + 1));
  const items = boxes.map((box, i) => ({ ...sized(box, detailOf(box), entries[i]), box: i, row: rank[i], x: 0, y: 0 }));
  const lanes = [];
  const routes = edges.map((edge, k) => {
    const route = [items[edge.source]];
    for (let row = rank[edge.source] + 1; row < rank[edge.target]; row++) {
      const lane = { box: -1, edge: k, row, width: LANE, height: 0, x: 0, y: 0, lines: [] };
      lanes.push(lane);
      route.push(lane);
    }
    return [...route, items[edge.target]];
  });
  const placedWords = inLine(boxes, items, words, Math.max(width - 2 * MARGIN, 320));
  const rows = Array.from({ length: nRows }, (_, r) => [...items, ...lanes].filter((item) => item.row === r && (r > 0 || item.box >= 0)));
  const line = placedWords.words;
  const middle = line.length ? (line[0].x - line[0].width / 2 + line[line.length - 1].x + line[line.length - 1].width / 2) / 2 : 0;
  arrange(rows, links(routes, edges), middle, Math.max(width, 360) - 2 * MARGIN - GUTTER);
  const left = Math.min(...placedWords.words.map((w) => w.x - w.width / 2), ...[...items, ...lanes].map((i) => i.x - i.width / 2));
  const right = Math.max(...placedWords.words.map((w) => w.x + w.width / 2), ...[...items, ...lanes].map((i) => i.x + i.width / 2));
  const total = Math.max(width, right - left + 2 * MARGIN);
  const shift = (total - left - right) / 2;
  const ys = heights(rows, height);
  for (const item of [...items, ...lanes]) {
    item.x += shift;
    item.y = ys[item.row];
  }
  for (const word of placedWords.words) word.x += shift;
  for (const item of items) {
    const by = moved[boxes[item.box].key];
    if (by && item.row > 0) [item.x, item.y] = [item.x + by[0], item.y + by[1]];
  }
  const lines = drawnLines(routes, edges, items);
  const bottom = ys[0] + 26;
  return {
    width: Math.max(total, ...items.map((item) => item.x + item.width / 2 + MARGIN)),
    height: Math.max(bottom, ...items.map((item) => item.y + item.height / 2 + MARGIN)),
    places: items,
    lines,
    words: placedWords.words,
    rows: ys.map((y, row) => ({ y, name: rowName(boxes, rank, row) })).slice(1),
  };
}

function rowName(boxes, rank, row) {
  const layers = boxes.filter((box, i) => rank[i] === row && !['token', 'logit', 'error'].includes(box.kind)).map((box) => Math.round(box.layer));
  if (!layers.length) return '';
  const [low, high] = [Math.min(...layers), Math.max(...layers)];
  return low === high ? `L${low}` : `L${low}–${high}`;
}

/** The row of each box: words 0, answers last, others by layer and above all that feed them. */
export function ranks(boxes, edges) {
  const isUnit = (box) => !['token', 'logit'].includes(box.kind);
  const layers = [...new Set(boxes.filter((box) => isUnit(box) && box.kind !== 'error').map((box) => Math.round(box.layer)))].sort((a, b) => a - b);
  const step = Math.max(1, layers.length / MOST_ROWS);
  const rank = boxes.map((box) => (!isUnit(box) ? 0 : box.kind === 'error' ? 1 : 1 + Math.floor(Math.max(layers.indexOf(Math.round(box.layer)), 0) / step)));
  for (let round = 0, changed = true; changed && round <= boxes.length; round++) {
    changed = false;
    for (const { source, target } of edges) {
      if (rank[target] <= rank[source] && boxes[target].kind !== 'logit') {
        rank[target] = rank[source] + 1;
        changed = true;
      }
    }
  }
  const used = [...new Set(rank.filter((r, i) => isUnit(boxes[i])))].sort((a, b) => a - b);
  return boxes.map((box, i) => (box.kind === 'token' ? 0 : box.kind === 'logit' ? used.length + 1 : used.indexOf(rank[i]) + 1));
}

/** A box with its text in one line or two, and as wide as that and its entries need. */
function sized(box, detail, entries) {
  if (box.kind === 'token') return { width: wordWidth(box.label), height: 30, lines: [box.label] };
  const lines = wrapped(box.label, WIDEST_TEXT);
  const text = Math.max(...lines.map((line) => columns(line) * LETTER), columns(detail) * NARROW) + 34;
  return { width: Math.max(NARROWEST, text, Math.min(entries, MOST_WEIGHTS) * ENTRY + Math.max(entries - MOST_WEIGHTS, 0) * BARE + 8), height: 34 + 18 * lines.length, lines };
}

/** Letters, those of Chinese and the like as two. */
export const columns = (text) => /^[\x20-\x7e]*$/.test(text) ? text.length : [...text].reduce((sum, letter) => sum + (/[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60\u{1f300}-\u{1faff}]/u.test(letter) ? 2 : 1), 0);

const wordWidth = (text) => Math.max(columns(text) * (LETTER + 0.4), 10) + 16;

/** At most two lines, cut with … where a text is longer. */
export function wrapped(text, width) {
  const most = Math.floor(width / LETTER);
  if (columns(text) <= most) return [text];
  const words = text.split(/(?<= )/);
  let first = '';
  while (words.length && columns(first + words[0].trimEnd()) <= most) first += words.shift();
  if (!first) {
    const letters = [...text];
    while (columns(first + letters[0]) <= most) first += letters.shift();
    words.splice(0, words.length, letters.join(''));
  }
  const rest = words.join('');
  return rest ? [first.trimEnd(), cut(rest, most)] : [first.trimEnd()];
}

const cut = (text, most) => {
  let out = '';
  for (const letter of text) {
    if (columns(out + letter) > most - 1) return `${out.trimEnd()}…`;
    out += letter;
  }
  return out;
};

/** The words of the prompt in a line; where they do not fit, those that nothing reads give way to … */
function inLine(boxes, items, words, width) {
  const boxOf = new Map(boxes.flatMap((box, i) => (box.kind === 'token' ? [[Number(box.key.slice(2)), i]] : [])));
  let line = words.map(([start, , text]) => ({ start, text, box: boxOf.get(start) ?? -1, width: wordWidth(text), x: 0 }));
  const size = (list) => list.reduce((sum, word) => sum + word.width + WORD_GAP, -WORD_GAP);
  if (size(line) > width) {
    const keep = line.map((word, i) => word.box >= 0 || line[i - 1]?.box >= 0 || line[i + 1]?.box >= 0);
    const shorter = (isKept) => line.flatMap((word, i) => (isKept(i) ? [word] : i > 0 && !isKept(i - 1) ? [] : [{ ...word, text: '…', width: 22 }]));
    const near = shorter((i) => keep[i]);
    line = size(near) <= width ? near : shorter((i) => line[i].box >= 0);
  }
  const extra = line.length > 1 ? Math.min(Math.max(width - size(line), 0) / (line.length - 1), 18) : 0;
  let x = 0;
  for (const word of line) {
    word.x = x + word.width / 2;
    x += word.width + WORD_GAP + extra;
    if (word.box >= 0) Object.assign(items[word.box], { x: word.x, width: word.width });
  }
  return { words: line };
}

/** What each item is joined to in the row below and above, with weights that keep long lines straight. */
function links(routes, edges) {
  const below = new Map();
  const above = new Map();
  routes.forEach((route, k) => {
    for (let i = 0; i + 1 < route.length; i++) {
      const straight = (route[i].box < 0 ? 1 : 0) + (route[i + 1].box < 0 ? 1 : 0);
      const weight = (0.15 + Math.abs(edges[k].weight)) * [1, 2, 6][straight];
      for (const [map, from, to] of [[above, route[i], route[i + 1]], [below, route[i + 1], route[i]]]) {
        if (!map.has(from)) map.set(from, []);
        map.get(from).push([to, weight]);
      }
    }
  });
  return { below, above };
}

/** Order and x of every item: rows are swept up and down, each taking the mean of what it is joined to. */
function arrange(rows, { below, above }, centre, room) {
  const wish = (item, maps) => {
    let [sum, weight] = [0, 0];
    for (const map of maps) {
      for (const [other, w] of map.get(item) ?? []) {
        sum += w * other.x;
        weight += w;
      }
    }
    return weight > 0 ? sum / weight : item.x;
  };
  for (const row of rows.slice(1)) for (const item of row) item.x = centre;
  const up = rows.slice(1);
  const down = [...up].reverse();
  for (let sweep = 0; sweep < 12; sweep++) {
    const maps = sweep === 0 ? [below] : sweep < 6 ? (sweep % 2 ? [above] : [below]) : [below, above];
    for (const row of sweep % 2 ? down : up) {
      const wishes = new Map(row.map((item) => [item, wish(item, maps)]));
      if (sweep < 8) row.sort((a, b) => Math.round(wishes.get(a) - wishes.get(b)) || a.x - b.x || (a.edge ?? a.box) - (b.edge ?? b.box));
      apart(row, row.map((item) => wishes.get(item)), centre, room);
    }
  }
}

/** Items side by side in their order, as near to their wishes as they can be (least squares), within the room. */
export function apart(row, wishes, centre = 0, room = Infinity) {
  const offsets = [0];
  for (let i = 1; i < row.length; i++) {
    const gap = row[i].box >= 0 && row[i - 1].box >= 0 ? GAP : row[i].box < 0 && row[i - 1].box < 0 ? 0 : GAP / 2;
    offsets.push(offsets[i - 1] + (row[i - 1].width + row[i].width) / 2 + gap);
  }
  /** @type {{sum: number, n: number}[]} */
  const blocks = [];
  for (let i = 0; i < row.length; i++) {
    blocks.push({ sum: wishes[i] - offsets[i], n: 1 });
    while (blocks.length > 1) {
      const [a, b] = blocks.slice(-2);
      if (a.sum / a.n <= b.sum / b.n) break;
      blocks.splice(-2, 2, { sum: a.sum + b.sum, n: a.n + b.n });
    }
  }
  const last = row.length - 1;
  const low = centre - room / 2 + (row[0]?.width ?? 0) / 2;
  const high = centre + room / 2 - (row[last]?.width ?? 0) / 2 - (offsets[last] ?? 0);
  const within = (at) => (low <= high ? Math.min(Math.max(at, low), high) : at);
  let i = 0;
  for (const block of blocks) for (let k = 0; k < block.n; k++, i++) row[i].x = within(block.sum / block.n) + offsets[i];
}

/** The y of each row, the answers' at the top. */
function heights(rows, height) {
  const tall = rows.map((row) => Math.max(30, ...row.map((item) => item.height)));
  const boxes = tall.reduce((sum, h) => sum + h, 0);
  const room = (height - boxes - 60) / Math.max(rows.length - 1, 1);
  const gap = Math.min(Math.max(room, LEAST_GAP), 118);
  const ys = new Array(rows.length);
  let y = 26;
  for (let row = rows.length - 1; row >= 0; row--) {
    ys[row] = y + tall[row] / 2;
    y += tall[row] + gap;
  }
  return ys;
}

/** Lines enter a box side by side in the order they come from, and leave it where they go to. */
function drawnLines(routes, edges, items) {
  const [entering, leaving] = [Array.from(items, () => []), Array.from(items, () => [])];
  edges.forEach((edge, k) => (entering[edge.target].push(k), leaving[edge.source].push(k)));
  const size = (k) => Math.abs(edges[k].weight);
  const named = new Set(entering.flatMap((all) => [...all].sort((a, b) => size(b) - size(a) || a - b).slice(0, MOST_WEIGHTS)));
  /** Side by side around the middle of a box, each with its room, less where the box is too narrow for all. */
  const places = (lists, roomOf, toward) => {
    const found = new Float64Array(edges.length);
    lists.forEach((all, end) => {
      const wish = new Map(all.map((k) => [k, toward(k)]));
      const total = all.reduce((sum, k) => sum + roomOf(k), 0);
      const squeeze = Math.min(1, (items[end].width - 8) / total);
      let before = -total / 2;
      for (const k of [...all].sort((a, b) => wish.get(a) - wish.get(b))) {
        found[k] = items[end].x + (before + roomOf(k) / 2) * squeeze;
        before += roomOf(k);
      }
    });
    return found;
  };
  const starts = places(leaving, () => 14, (k) => routes[k][1].x);
  const stops = places(entering, (k) => (named.has(k) ? ENTRY : BARE), (k) => routes[k][routes[k].length - 2].x);
  return edges.map((edge, k) => {
    const route = routes[k];
    const [source, target] = [items[edge.source], items[edge.target]];
    const [x0, x1] = [starts[k], stops[k]];
    const top = source.y - source.height / 2;
    const end = target.y + target.height / 2 + 6;
    const points = [[x0, top], ...route.slice(1, -1).map((lane) => [lane.x, lane.y]), [x1, end]];
    return { edge: k, points, label: [x1, end + 17], isNamed: named.has(k) };
  });
}

/** A smooth line through points, upright in each of them, as a path of SVG. @param {[number, number][]} points */
export function pathOf(points) {
  const f = (value) => value.toFixed(1);
  let d = `M${f(points[0][0])} ${f(points[0][1])}`;
  for (let i = 1; i < points.length; i++) {
    const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
    const bend = Math.abs(y0 - y1) * 0.46;
    d += `C${f(x0)} ${f(y0 - bend)} ${f(x1)} ${f(y1 + bend)} ${f(x1)} ${f(y1)}`;
  }
  return d;
}
