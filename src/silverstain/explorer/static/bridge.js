/**
 * The page in a frame of a notebook's widget: what is selected and kept is told to it, and it may select. Only where the
 * document says that it is in one.
 * @module
 */
const PAUSE = 200;

/** @param {import('./store.js').Store} store @returns {(what: string) => void} told of every change */
export function bridge(store) {
  if (!store.page.document.in_widget || globalThis.parent === globalThis.window) return () => {};
  const { ids } = store.page.graph;
  const say = (more) => globalThis.parent.postMessage({ silverstain: 'says', ...more }, '*');
  const selected = () => ({ selection: [...store.selection], nodes: store.selectedNodes.map((node) => ids[node]) });
  addEventListener('message', ({ source, data }) => {
    if (source !== globalThis.parent || data?.silverstain !== 'select' || !Array.isArray(data.keys)) return;
    const keys = data.keys.filter((key) => typeof key === 'string');
    if (JSON.stringify(keys) !== JSON.stringify(store.selection)) store.select(keys);
  });
  queueMicrotask(() => say({ ...(store.selection.length ? selected() : {}), isReady: true }));
  let waiting = 0;
  return (what) => {
    if (what === 'selection') say(selected());
    if (what !== 'state') return;
    clearTimeout(waiting); // a slider that is dragged would say a hundred
    waiting = setTimeout(() => say({ ...selected(), story: store.document }), PAUSE);
  };
}
