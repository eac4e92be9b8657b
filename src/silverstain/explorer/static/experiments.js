/**
 * Experiments as plain values: what a person wants changed, in words and as the server takes it, and what a story keeps
 * of what came of it.
 * @module
 */

/**
 * @typedef {object} Edit
 * @property {'ablate'|'scale'|'set'|'inject'|'patch'} op
 * @property {'nodes'|'edge'|'position'} what
 * @property {string[]} nodes  ids
 * @property {number} [position]
 * @property {number|null} value
 * @property {string} name  what a person calls it
 */

export const OPERATIONS = [
  ['ablate', 'switch off', ''],
  ['scale', 'multiply ×', '-1'],
  ['set', 'set to', '1'],
  ['inject', 'add from another prompt ×', '1'],
  ['patch', 'from another prompt ×', '1'],
];

const OF = { nodes: ['ablate', 'scale', 'set', 'inject', 'patch'], edge: ['ablate', 'scale'], position: ['ablate', 'scale', 'inject', 'patch'] };

/** The operations that there are for what is changed. */
export const operationsFor = (what) => OPERATIONS.filter(([op]) => OF[what].includes(op));

/** The number that an operation begins with; null where it takes none. */
export const valueFor = (op) => {
  const first = OPERATIONS.find(([name]) => name === op)?.[2] ?? '';
  return first === '' ? null : Number(first);
};

export const takesFromOther = (edits) => edits.some((edit) => edit.op === 'patch' || edit.op === 'inject');

/** An edit in words: "dallas is in texas × −1". @param {Edit} edit */
export function inWords({ op, value, name }) {
  const number = value === null || value === undefined ? '' : String(value).replace('-', '−');
  if (op === 'ablate') return `${name} off`;
  if (op === 'scale') return `${name} × ${number}`;
  if (op === 'set') return `${name} = ${number}`;
  const times = value === null || value === undefined || value === 1 ? '' : ` × ${number}`;
  return op === 'inject' ? `${name} + other prompt${times}` : `${name} from other prompt${times}`;
}

/** What is wrong with a list of edits, in a sentence; '' where it can be run. */
export function problemWith(edits, donor, hasOther = false) {
  if (!edits.length) return 'Choose what to change: select a box, a mark or a word in the picture, then add it here.';
  if (edits.some((edit) => edit.op !== 'ablate' && !Number.isFinite(edit.value))) return 'A number is missing.';
  if (takesFromOther(edits) && !donor.trim() && !hasOther) return 'Type the prompt that values are taken from.';
  return '';
}

/** As the server takes it. */
export function askedOf(graph, edits, settings) {
  const plain = edits.map(({ op, what, nodes, position, value }) => ({ op, what, nodes, ...(position === undefined ? {} : { position }), ...(op === 'ablate' || value === null ? {} : { value }) }));
  return { graph, edits: plain, ...settings };
}

/** An experiment of the story in words. */
export function titleOfEvidence(entry) {
  if (entry.kind === 'swap') return `${entry.from} swapped for ${entry.to}`;
  return typeof entry.name === 'string' && entry.name ? entry.name : 'an experiment';
}

/** What came of it, in a line. */
export function outcomeOf(entry) {
  const says = entry.says ?? (entry.result ? [entry.result.baseline?.[0]?.token, entry.result.edited?.[0]?.token] : []);
  const [before, after] = says.map((one) => String(one ?? '?').trim());
  return before === after ? `still ${before}` : `${before} → ${after}`;
}

/** The entries of a story's evidence that the lab shows, with their place in it. */
export const experimentsIn = (evidence) => evidence.flatMap((entry, at) => (entry && (entry.kind === 'experiment' || (entry.kind === 'swap' && entry.result)) ? [{ entry, at }] : []));

/** The rows of answers that an entry holds, a swap's as an experiment's. */
export function answersOf(entry) {
  if (Array.isArray(entry.answers)) return entry.answers;
  const { baseline = [], edited = [] } = entry.result ?? {};
  const control = entry.controls?.length ? [...entry.controls].sort((a, b) => b.kl - a.kl)[0] : null;
  const of = (list, id) => (list ?? []).find((one) => one.id === id)?.probability ?? 0;
  const ids = new Map([...baseline.slice(0, 4), ...edited.slice(0, 4)].map((one) => [one.id, one.token]));
  return [...ids].map(([id, token]) => ({ id, token, before: of(baseline, id), after: of(edited, id), ...(control ? { control: of(control.edited, id) } : {}) })).sort((a, b) => Math.max(b.before, b.after) - Math.max(a.before, a.after));
}

/** How to run an entry again: what was asked, or for a swap its edits as they are kept. */
export function againOf(entry) {
  if (entry.kind === 'swap') return { raw: entry.result.edits, edits: [], base: entry.result.base ?? 'clean', attention: entry.result.attention ?? 'live' };
  return entry.asked ?? null;
}

/** Rank correlation of two lists; NaN where there are too few. @param {number[]} a @param {number[]} b */
export function spearman(a, b) {
  if (a.length < 3) return NaN;
  const ranks = (list) => {
    const order = list.map((_, i) => i).sort((i, j) => list[i] - list[j]);
    const out = new Array(list.length);
    for (let i = 0; i < order.length; ) {
      let j = i;
      while (j + 1 < order.length && list[order[j + 1]] === list[order[i]]) j++;
      for (let k = i; k <= j; k++) out[order[k]] = (i + j) / 2;
      i = j + 1;
    }
    return out;
  };
  const [x, y] = [ranks(a), ranks(b)];
  const mean = (x.length - 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  x.forEach((value, i) => {
    xy += (value - mean) * (y[i] - mean);
    xx += (value - mean) ** 2;
    yy += (y[i] - mean) ** 2;
  });
  return xx > 0 && yy > 0 ? xy / Math.sqrt(xx * yy) : NaN;
}
