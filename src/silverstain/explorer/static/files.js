/**
 * Ways out of the page and in again: the story, the picture, the account, the nodes.
 * @module
 */
import { markdownOf } from './account.js';
import { download } from './dom.js';
import { KINDS } from './format.js';
import { stateOfStory } from './state.js';

const SHARPNESS = 2;

/** A file's name from the document's: `dallas` of `dallas.safetensors`. */
export const stemOf = (document) => (document.name.replace(/\.[^.]*$/, '') || 'graph').replace(/[^\p{L}\p{N}_.-]+/gu, '-').slice(0, 80) || 'graph';

/** The story as a file: what it was, with what the person made of it. */
export const storyText = (store) => `${JSON.stringify(store.document, null, 2)}\n`;

/** @param {'story'|'svg'|'png'|'md'|'csv'} kind */
export async function save(kind, store, stage) {
  const stem = stemOf(store.page.document);
  const put = (text, type, name) => download(new Blob([text], { type }), name);
  if (kind === 'story') put(storyText(store), 'application/json', `${stem}.story.json`);
  if (kind === 'svg') put(stage.svg(), 'image/svg+xml', `${stem}.svg`);
  if (kind === 'md') put(markdownOf(store.page, store.circuit, store.visible, store.state.notes), 'text/markdown', `${stem}.md`);
  if (kind === 'csv') put(csvOf(store), 'text/csv', `${stem}.csv`);
  if (kind === 'png') download(await pngOf(stage.svg({ followsTheme: false })), `${stem}.png`);
}

/** The picture in pixels, light, as it is meant for paper. */
async function pngOf(svg) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [image.width * SHARPNESS, image.height * SHARPNESS];
  canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('the picture is too large for a PNG; export it as SVG'))), 'image/png'));
}

/** The nodes that are drawn, a line each. */
export function csvOf(store) {
  const { graph, known } = store.page;
  const { nodes } = store.visible;
  const cell = (value) => {
    const text = String(value);
    const plain = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text; // no spreadsheet runs it
    return /[",\n\r]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
  };
  const rows = graph.ids.flatMap((id, i) => (nodes[i] ? [[id, KINDS[graph.kind[i]], graph.layer[i], graph.position[i], graph.feature[i], graph.activation[i], known.total ? known.reached[i] / known.total : 0, store.labelOf(i)]] : []));
  return [['id', 'kind', 'layer', 'position', 'feature', 'activation', 'influence', 'label'], ...rows].map((row) => row.map(cell).join(',')).join('\r\n') + '\r\n';
}

/**
 * Take a story that was saved: its changes are one step that can be undone. An Error says why it cannot be taken.
 * @param {string} text
 */
export function openStory(store, text) {
  let story;
  try {
    story = JSON.parse(text);
  } catch {
    throw new Error('this file is no JSON, so it is no story');
  }
  if (story?.format !== 'silverstain.story/1') throw new Error(`this file is no story: its format is ${JSON.stringify(story?.format ?? null)}`);
  const isGroup = (one) => typeof one?.label === 'string' && Array.isArray(one.members) && one.members.every((id) => typeof id === 'string');
  const isTexts = (list) => Array.isArray(list) && list.every((one) => typeof one === 'string');
  if (!isTexts(story.pins ?? []) || !isTexts(story.notes ?? []) || !(story.groups ?? []).every?.(isGroup)) throw new Error('this story is damaged: its pins, notes or groups are of another kind');
  const isOther = story.graph_hash && story.graph_hash !== store.page.document.hash;
  store.story = { ...store.story, ...story, graph_hash: store.page.document.hash };
  store.apply(stateOfStory(story, store.page.document.pruning), 'open a story');
  return isOther ? 'This story was written for another graph: what it names that is not here is left out.' : 'Opened the story.';
}
