/**
 * Undo and redo as a value: what was, what is, what was undone. Changes of one kind in quick succession are one step.
 * @module
 */

const MOST = 500;
const TOGETHER = 600; // milliseconds between two moves of one slider that count as one

/** @template T @typedef {{past: {state: T, what: string}[], now: T, future: {state: T, what: string}[], last: {kind: string, at: number}|null}} History */

/** @template T @param {T} state @returns {History<T>} */
export const historyOf = (state) => ({ past: [], now: state, future: [], last: null });

/**
 * The history after a change called `what`; `kind` is given where such changes may count as one.
 * @template T @param {History<T>} history @param {T} state
 */
export function changed(history, state, what, { kind = '', at = 0 } = {}) {
  if (state === history.now) return history;
  const joins = kind && history.last?.kind === kind && at - history.last.at < TOGETHER && history.past.length > 0;
  const past = joins ? history.past : [...history.past, { state: history.now, what }].slice(-MOST);
  return { past, now: state, future: [], last: { kind, at } };
}

/** @template T @param {History<T>} history @returns {History<T>} */
export function undone(history) {
  const step = history.past.at(-1);
  if (!step) return history;
  return { past: history.past.slice(0, -1), now: step.state, future: [{ state: history.now, what: step.what }, ...history.future], last: null };
}

/** @template T @param {History<T>} history @returns {History<T>} */
export function redone(history) {
  const [step, ...future] = history.future;
  if (!step) return history;
  return { past: [...history.past, { state: history.now, what: step.what }], now: step.state, future, last: null };
}
