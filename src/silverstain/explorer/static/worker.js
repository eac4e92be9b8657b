/**
 * The worker: it reads the columns of a document into typed arrays, keeps them, and gives the page what follows from them.
 * @module
 */
import { answerTo, opened } from './sums.js';

/** @type {import('./format.js').Graph|null} */
let graph = null;

globalThis.onmessage = ({ data }) => {
  const { id, asked } = data;
  try {
    if (asked.what === 'open') {
      const found = opened(asked.document);
      graph = found.graph;
      // The page is given a copy of what is read here again, and all else without a copy.
      answer({ id, found: asked.isAnswered ? found : null }, asked.isAnswered ? Object.values(found.known).flatMap(buffers) : []);
    } else answer({ id, found: answerTo(graph, asked) });
  } catch (error) {
    answer({ id, error: String(error?.message ?? error) });
  }
};

/** @param {any} message @param {ArrayBufferLike[]} [moved] */
function answer(message, moved = []) {
  /** @type {any} */ (globalThis).postMessage(message, moved);
}

/** @returns {ArrayBufferLike[]} */
function buffers(value) {
  if (ArrayBuffer.isView(value)) return [value.buffer];
  return value && typeof value === 'object' ? Object.values(value).flatMap(buffers) : [];
}
