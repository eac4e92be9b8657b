/**
 * Starts the page: its document stands in it (one file), or is asked from the server it came from.
 * @module
 */
import { open, refuse } from './app.js';

const root = document.getElementById('page');
const inside = document.getElementById('document');

/** @returns {Promise<[any, any]>} the document, and what the server adds to it */
async function found() {
  if (inside) return [JSON.parse(inside.textContent ?? ''), {}];
  const path = new URLSearchParams(location.search).get('graph') ?? '';
  const query = `?graph=${encodeURIComponent(path)}`;
  const answer = await fetch(`/api/document${query}`);
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error ?? `the server answered ${answer.status}`);
  const saveStory = async (text) => {
    const written = await fetch(`/api/story${query}`, { method: 'PUT', headers: { 'content-type': 'application/json', 'x-silverstain': '1' }, body: text });
    const report = await written.json();
    if (!written.ok) throw new Error(report.error ?? `the server answered ${written.status}`);
    return `Wrote ${report.written}`;
  };
  return [said, { home: '/', pageLink: `/api/page${query}`, saveStory, graphPath: path }];
}

try {
  const [given, more] = await found();
  await open(root, given, more);
} catch (error) {
  refuse(root, error);
}
