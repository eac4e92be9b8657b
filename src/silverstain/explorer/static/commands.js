/**
 * Every command of the page, with the keys that call it. The palette, the keyboard and the list of keys all read this
 * one table.
 * @module
 */
import { isUnit } from './format.js';
import { grouped, hidden, togglePins, ungrouped, unhidden, filtered, NO_FILTERS } from './state.js';

/**
 * @typedef {object} Command
 * @property {string} id
 * @property {string} title
 * @property {string[]} keys  as in `KeyboardEvent.key`, with `Mod+` for Ctrl or Command and `Shift+`
 * @property {string} part  under which heading the list of keys has it
 * @property {(store: import('./store.js').Store) => boolean} [can]
 * @property {(store: import('./store.js').Store, ui: any) => void} run
 */

const some = (store) => store.selection.length > 0;
const units = (store) => store.selectedNodes.filter((node) => isUnit(store.page.graph, node));
const ids = (store, nodes) => nodes.map((node) => store.page.graph.ids[node]);
const groupsOf = (store) => store.selection.filter((key) => key.startsWith('g:'));

/** @type {Command[]} */
export const COMMANDS = [
  { id: 'circuit', title: 'Show the circuit: groups as boxes', keys: ['1'], part: 'Views', run: (store) => show(store, 'circuit') },
  { id: 'flow', title: 'Show the flow: every node, position by layer', keys: ['2'], part: 'Views', run: (store) => show(store, 'flow') },
  { id: 'table', title: 'Show what is drawn as a table', keys: ['3'], part: 'Views', run: (store) => show(store, 'table') },
  { id: 'contrast', title: 'Show the two prompts, what differs, and how few units turn the answer', keys: ['4'], part: 'Views', can: (store) => Boolean(store.page.document.contrast), run: (store) => show(store, 'contrast') },
  { id: 'matrix', title: 'Show every box against every other, as a matrix', keys: ['5'], part: 'Views', run: (store) => show(store, 'matrix') },
  { id: 'lens', title: 'Show what the stream would say after every layer', keys: ['6'], part: 'Views', run: (store) => show(store, 'lens') },
  { id: 'compare', title: 'Compare with another graph of the folder', keys: ['7'], part: 'Views', run: (store) => show(store, 'compare') },
  { id: 'fit', title: 'Fit the picture to the window', keys: ['0'], part: 'Views', run: (_, ui) => ui.fit() },
  { id: 'alone', title: 'The picture alone, or with the panes', keys: ['w'], part: 'Views', run: (_, ui) => ui.alone() },
  { id: 'read', title: 'The prompt and its account over the whole window, and back', keys: ['q'], part: 'Views', run: (_, ui) => ui.widen('left') },
  { id: 'card', title: 'What is known of the selection over the whole window, and back', keys: ['i'], part: 'Views', run: (_, ui) => ui.widen('right') },
  { id: 'larger', title: 'Zoom in', keys: ['+', '='], part: 'Views', run: (_, ui) => ui.zoom(1.25) },
  { id: 'smaller', title: 'Zoom out', keys: ['-'], part: 'Views', run: (_, ui) => ui.zoom(0.8) },

  { id: 'search', title: 'Search for a word, feature or group', keys: ['/'], part: 'Find', run: (_, ui) => ui.search() },
  { id: 'palette', title: 'All commands', keys: ['Mod+k'], part: 'Find', run: (_, ui) => ui.palette() },
  { id: 'input', title: 'Go to the strongest input', keys: ['ArrowDown'], part: 'Walk', run: (_, ui) => ui.walk('input') },
  { id: 'output', title: 'Go to the strongest output', keys: ['ArrowUp'], part: 'Walk', run: (_, ui) => ui.walk('output') },
  { id: 'left', title: 'Go to the neighbour on the left', keys: ['ArrowLeft'], part: 'Walk', run: (_, ui) => ui.walk('left') },
  { id: 'right', title: 'Go to the neighbour on the right', keys: ['ArrowRight'], part: 'Walk', run: (_, ui) => ui.walk('right') },
  { id: 'previous', title: 'Go to the next stronger one', keys: ['['], part: 'Walk', run: (_, ui) => ui.walk('previous') },
  { id: 'next', title: 'Go to the next weaker one', keys: [']'], part: 'Walk', run: (_, ui) => ui.walk('next') },
  { id: 'extend-input', title: 'Add the strongest input to the selection', keys: ['Shift+ArrowDown'], part: 'Walk', can: some, run: (_, ui) => ui.walk('input', true) },
  { id: 'extend-output', title: 'Add the strongest output', keys: ['Shift+ArrowUp'], part: 'Walk', can: some, run: (_, ui) => ui.walk('output', true) },
  { id: 'extend-left', title: 'Add the neighbour on the left', keys: ['Shift+ArrowLeft'], part: 'Walk', can: some, run: (_, ui) => ui.walk('left', true) },
  { id: 'extend-right', title: 'Add the neighbour on the right', keys: ['Shift+ArrowRight'], part: 'Walk', can: some, run: (_, ui) => ui.walk('right', true) },
  { id: 'inspect', title: 'Read about the selection', keys: ['Enter'], part: 'Walk', can: some, run: (_, ui) => ui.inspect() },
  { id: 'paths', title: 'Strongest paths: from the selection to the answer, or between two', keys: ['f'], part: 'Find', can: some, run: (_, ui) => ui.paths() },
  { id: 'clear', title: 'Select nothing', keys: ['Escape'], part: 'Walk', run: (store, ui) => ui.narrow() || store.select([]) },

  { id: 'pin', title: 'Pin, so that it is always drawn, or unpin', keys: [' ', 'p'], part: 'Change', can: (store) => units(store).length > 0,
    run: (store) => store.apply(togglePins(store.state, ids(store, units(store))), 'pin') },
  { id: 'group', title: 'Make one group of the selection', keys: ['g'], part: 'Change', can: (store) => units(store).length > 0,
    run: (store, ui) => {
      const nodes = units(store);
      const best = [...store.selection].sort((a, b) => weight(store, b) - weight(store, a))[0];
      store.apply(grouped(store.state, ids(store, nodes), store.nameOf(best)), 'group');
      store.select([`g:${store.state.groups.at(-1).label}`]);
      ui.rename();
    } },
  { id: 'ungroup', title: 'Dissolve the group', keys: ['Shift+g', 'Shift+G'], part: 'Change', can: (store) => groupsOf(store).length > 0,
    run: (store) => store.apply(groupsOf(store).reduce((state, key) => ungrouped(state, key.slice(2)), store.state), 'ungroup') },
  { id: 'rename', title: 'Rename', keys: ['r', 'F2'], part: 'Change', can: (store) => store.selection.length === 1, run: (_, ui) => ui.rename() },
  { id: 'hide', title: 'Hide, with a reason', keys: ['h', 'Delete'], part: 'Change', can: some, run: (_, ui) => ui.hide() },
  { id: 'unhide', title: 'Show all that was hidden by hand', keys: ['Shift+h', 'Shift+H'], part: 'Change', can: (store) => Object.keys(store.state.hidden).length > 0,
    run: (store) => store.apply(unhidden(store.state), 'show hidden') },
  { id: 'straighten', title: 'Put dragged boxes back', keys: [], part: 'Change', can: (store) => Object.keys(store.state.places).length > 0,
    run: (store) => store.apply({ ...store.state, places: {} }, 'put boxes back') },
  { id: 'unfilter', title: 'Take all filters away', keys: [], part: 'Change', run: (store) => store.apply(filtered(store.state, NO_FILTERS), 'filters') },
  { id: 'more', title: 'Draw more', keys: ['.', '>'], part: 'Change', run: (store) => store.apply(drawn(store.state, 1), 'draw more', 'amount') },
  { id: 'fewer', title: 'Draw less', keys: [',', '<'], part: 'Change', run: (store) => store.apply(drawn(store.state, -1), 'draw less', 'amount') },
  { id: 'undo', title: 'Undo', keys: ['Mod+z'], part: 'Change', can: (store) => store.history.past.length > 0, run: (store, ui) => ui.say(`undone: ${store.undo()}`) },
  { id: 'redo', title: 'Redo', keys: ['Mod+Shift+z', 'Mod+y'], part: 'Change', can: (store) => store.history.future.length > 0, run: (store, ui) => ui.say(`done again: ${store.redo()}`) },

  { id: 'propose', title: 'Propose groups, to accept or reject one by one', keys: ['a'], part: 'Change', run: (_, ui) => ui.propose() },
  { id: 'tags', title: 'Tag this graph, so that it is found on the start page', keys: ['t'], part: 'Files', run: (_, ui) => ui.tags() },
  { id: 'lab', title: 'Lab: change a part of the running model', keys: ['l'], part: 'Test', run: (_, ui) => ui.lab() },

  { id: 'story', title: 'Save your work as a story (JSON)', keys: ['Mod+s'], part: 'Files', run: (_, ui) => ui.save('story') },
  { id: 'open', title: 'Open a story or a graph', keys: ['Mod+o'], part: 'Files', run: (_, ui) => ui.open() },
  { id: 'svg', title: 'Export the picture as SVG', keys: [], part: 'Files', run: (_, ui) => ui.save('svg') },
  { id: 'png', title: 'Export the picture as PNG', keys: [], part: 'Files', run: (_, ui) => ui.save('png') },
  { id: 'print', title: 'Print the picture and what is said of it, or save it as PDF', keys: ['Mod+p'], part: 'Files', run: (_, ui) => ui.print() },
  { id: 'markdown', title: 'Export the account of what is drawn (Markdown)', keys: [], part: 'Files', run: (_, ui) => ui.save('md') },
  { id: 'csv', title: 'Export the nodes that are drawn (CSV)', keys: [], part: 'Files', run: (_, ui) => ui.save('csv') },
  { id: 'link', title: 'Copy a link to what is shown', keys: [], part: 'Files', run: (_, ui) => ui.link() },
  { id: 'reset', title: 'Begin again with the story as it came', keys: [], part: 'Files', run: (store) => store.apply(store.initial, 'begin again') },
  { id: 'help', title: 'How to read this, and all keys', keys: ['?'], part: 'Find', run: (_, ui) => ui.help() },
];

function show(store, view) {
  if (store.state.view !== view) store.apply({ ...store.state, view }, `show the ${view}`);
}

const weight = (store, key) => store.membersOf(key).reduce((sum, node) => sum + store.page.known.reached[node], 0);

/** One step more or less: boxes in the circuit, share of the influence in the flow. */
function drawn(state, step) {
  if (state.view === 'flow') return { ...state, nodeShare: Math.min(1, Math.max(0.05, Math.round(20 * state.nodeShare + step) / 20)) };
  return { ...state, boxes: Math.min(200, Math.max(1, state.boxes + step)) };
}

/** What a key press is called in the table. @param {KeyboardEvent} event */
export function keyOf(event) {
  const mod = event.ctrlKey || event.metaKey ? 'Mod+' : '';
  const shift = event.shiftKey && (event.key.length > 1 || /[a-z]/i.test(event.key)) ? 'Shift+' : '';
  return mod + shift + (mod && event.key.length === 1 ? event.key.toLowerCase() : event.key);
}

/** The command of a key press, if there is one. @returns {Command|undefined} */
export const commandOf = (event) => COMMANDS.find((command) => command.keys.includes(keyOf(event)));

/** A key as people read it. */
export const keyName = (key, isMac = false) =>
  key
    .replace('Mod+', isMac ? '⌘' : 'Ctrl ')
    .replace('Shift+', isMac ? '⇧' : 'Shift ')
    .replace('Arrow', '')
    .replace(/^ $/, 'Space')
    .replace('Escape', 'Esc')
    .replace(/(?<=^|[ ⌘⇧])[a-z]$/, (letter) => letter.toUpperCase());
