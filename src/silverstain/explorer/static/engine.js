/**
 * Where sums over the graph are made: in a worker, so that the page stays fluid meanwhile, or in the page where the
 * browser gives it none. A page that is a file has the worker's text in it and starts it from there, since a browser
 * refuses workers that are files.
 * @module
 */
import { answerTo, opened } from './sums.js';

/** Edges of a graph that the page opens itself, in less time than a worker takes to start. */
export const FEW = 60_000;
const PATIENCE = 60_000;

/**
 * @typedef {object} Engine
 * @property {'worker'|'page'} where  sums are made
 * @property {string} why  not in a worker; '' where they are
 * @property {(document: any) => Promise<import('./sums.js').Opened>} open
 * @property {(asked: any) => Promise<any>} ask  null where a later question of the same kind took its place
 */

/** A worker of the page's own; throws, or fails at its first message, where it may have none. @returns {Worker} */
function started() {
  const text = document.getElementById('worker')?.textContent;
  if (!text) return new Worker(new URL('/static/worker.js', location.href), { type: 'module' });
  const address = URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  return new Worker(address);
}

/** @param {() => Worker} [start] @returns {Engine} */
export function engineOf(start = started) {
  let asking = null;
  let graph = null;
  const engine = { where: /** @type {'worker'|'page'} */ ('worker'), why: '', open, ask: latest(answer) };

  async function answer(asked) {
    try {
      if (asking) return await asking(asked);
    } catch (error) {
      giveUp(error);
    }
    return answerTo(graph, asked);
  }

  function giveUp(error) {
    asking = null;
    Object.assign(engine, { where: 'page', why: String(error?.message || error || 'the browser refused it') });
  }

  async function open(document) {
    const few = (document?.edges?.indices?.data?.length ?? 0) < (FEW * 16) / 3; // four bytes in 16 / 3 letters
    try {
      asking = asker(start());
    } catch (error) {
      giveUp(error);
    }
    const theirs = asking?.({ what: 'open', document: { format: document?.format, n_layers: document?.n_layers, nodes: document?.nodes, edges: document?.edges }, isAnswered: !few });
    const failed = theirs?.then(() => null, (error) => error);
    if (few || !theirs) {
      const found = opened(document);
      graph = found.graph;
      failed?.then((error) => error && giveUp(error));
      return found;
    }
    const error = await failed;
    const found = error ? opened(document) : await theirs;
    if (error) giveUp(error);
    graph = found.graph;
    return found;
  }
  return engine;
}

/** Questions to a worker, each answered once. @param {Worker} worker */
function asker(worker) {
  const waiting = new Map();
  let last = 0;
  const fail = (error) => {
    for (const { refuse } of waiting.values()) refuse(error);
    waiting.clear();
    worker.terminate();
  };
  worker.onerror = (event) => (event.preventDefault(), fail(new Error(event.message || 'the browser refused the worker')));
  worker.onmessageerror = () => fail(new Error('the worker could not be read'));
  worker.onmessage = ({ data: { id, found, error } }) => {
    const { keep, refuse } = waiting.get(id) ?? {};
    waiting.delete(id);
    if (error === undefined) keep?.(found);
    else refuse?.(new Error(error));
  };
  return (asked) =>
    new Promise((keep, refuse) => {
      const id = ++last;
      waiting.set(id, { keep, refuse });
      worker.postMessage({ id, asked });
      if (asked.what === 'open') setTimeout(() => waiting.has(id) && fail(new Error('the worker did not answer')), PATIENCE);
    });
}

/** One question of a kind at a time, and of those that wait the last: a slider that is dragged asks for a hundred. */
export function latest(ask) {
  const kinds = new Map();
  return async function asked(question) {
    const kind = question.what;
    const state = kinds.get(kind) ?? { running: null, next: null };
    kinds.set(kind, state);
    if (state.running) {
      state.next?.(null);
      const isOurs = await new Promise((turn) => {
        state.next = turn;
        state.running.finally(() => turn(true));
      });
      if (!isOurs) return null;
      state.next = null;
    }
    state.running = Promise.resolve(ask(question)).finally(() => (state.running = null));
    return state.running;
  };
}
