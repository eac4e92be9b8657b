/**
 * The page: reads its document, puts its parts together, and passes keys on to commands.
 * @module
 */
import { bridge } from './bridge.js';
import { bring, isGraph } from './bring.js';
import { themeStyle } from './colours.js';
import { COMMANDS, commandOf } from './commands.js';
import { engineOf } from './engine.js';
import { help, palette, question, reason } from './dialogs.js';
import { button, el, fill } from './dom.js';
import { openStory, save, storyText } from './files.js';
import { counter, header } from './header.js';
import { inspector } from './inspector.js';
import { lab } from './lab.js';
import { PICTURE_STYLE } from './picture.js';
import { proposals } from './proposals.js';
import { readingPane } from './reading.js';
import { fromHash, kept, toHash } from './remember.js';
import { circuitStage } from './stage_circuit.js';
import { compareStage } from './stage_compare.js';
import { contrastStage } from './stage_contrast.js';
import { flowStage } from './stage_flow.js';
import { lensStage } from './stage_lens.js';
import { matrixStage } from './stage_matrix.js';
import { tableStage } from './stage_table.js';
import { hidden, tagged } from './state.js';
import { Store } from './store.js';
import { percent } from './text.js';
import { shareOf } from './groups.js';
import { stepFrom } from './walk.js';
import { titleOf } from './account.js';

const AUTOSAVE = 400;
const SHOWS_PICTURE = [...COMMANDS.filter((one) => one.part === 'Views' && !['read', 'card'].includes(one.id)).map((one) => one.id), 'lab', 'propose'];
const REMEMBER = 150; // a slider that is dragged would write a hundred addresses

/** Open a document in an element. @returns {Promise<Store>} */
export async function open(root, given, { home = '', pageLink = '', saveStory = null, graphPath = '' } = {}) {
  const fragment = fromHash(globalThis.location?.hash ?? '');
  const remembered = kept.read(given.hash);
  const engine = engineOf();
  const store = new Store(given, await engine.open(given), engine.ask, { remembered, fragment });
  document.title = `${titleOf(given)} – Silverstain`;
  document.head.append(el('style', {}, themeStyle(':root') + PICTURE_STYLE));
  const [top, left, right, bottom] = [el('header.top'), el('aside.left', { 'aria-label': 'prompt, account and settings', tabindex: '-1' }), el('aside.right', { 'aria-label': 'about the selection', tabindex: '0' }), el('footer.bottom')];
  const middle = el('main.middle', { 'aria-label': 'the graph' });
  const live = el('div.live', { 'aria-live': 'polite', role: 'status' });
  const notice = el('div.notice', { role: 'alert', hidden: true });
  const peek = el('div.peek', { hidden: true, 'aria-hidden': 'true' });
  const drawer = el('section.lab', { hidden: true, 'aria-label': 'lab' });
  const wider = (side) => button('⤢', () => ui.run(side === 'left' ? 'read' : 'card'), { class: 'tool', 'data-wide': side, 'aria-pressed': 'false', 'aria-label': 'over the whole window', title: `over the whole window, and back (${side === 'left' ? 'Q' : 'I'})` });
  const about = el('div.inside');
  left.append(wider('left'));
  right.append(wider('right'), about);
  fill(root, top, left, middle, right, drawer, bottom, live, notice, peek);
  root.className = 'page';

  const ui = {
    home, pageLink, graphPath, engine,
    canRun: Boolean(graphPath),
    isMac: /Mac|iPhone|iPad/.test(globalThis.navigator?.platform ?? ''),
    run(id) {
      const command = COMMANDS.find((one) => one.id === id);
      if (!command || !(command.can?.(store) ?? true)) return;
      if (SHOWS_PICTURE.includes(id)) ui.narrow();
      command.run(store, ui);
    },
    say: (text) => (live.textContent = text),
    tell(text, isError = false) {
      notice.textContent = text;
      notice.hidden = false;
      notice.classList.toggle('is-error', isError);
      clearTimeout(ui.telling);
      ui.telling = setTimeout(() => (notice.hidden = true), isError ? 9000 : 4000);
    },
    fit: () => stage().fit(),
    zoom: (by) => stage().zoom(by),
    search: () => find('nodes'),
    palette: () => find('all'),
    help: () => showHelp(),
    inspect: () => right.focus(),
    focusStage: () => (covering() ?? stage()).focus(),
    paths: () => inspect.paths(),
    rename: () => inspect.rename(),
    test: () => (ui.narrow(), drawer.hidden ? ui.lab() : bench.take()),
    lab() {
      const isOpen = drawer.hidden;
      bench.open(isOpen);
      top.querySelector('[data-tool=lab]')?.setAttribute('aria-pressed', String(isOpen));
      stage().draw();
      if (isOpen) bench.focus();
      else stage().focus();
    },
    propose: () => propose.toggle(),
    alone() {
      root.classList.toggle('is-alone');
      stage().draw();
      stage().fit();
      ui.tell(root.classList.contains('is-alone') ? 'The picture alone. W brings the panes back.' : 'With the panes.');
    },
    /** A pane over all that is below the bar; what it covers cannot be reached meanwhile. @param {'left'|'right'} side */
    widen(side) {
      const isWide = root.classList.contains(`is-wide-${side}`);
      ui.narrow();
      if (isWide) return;
      root.classList.remove('is-alone');
      wide(side);
      (side === 'left' ? left : right).focus();
      ui.say('The whole window. Escape brings the picture back.');
    },
    /** The picture again, if a pane covers it. @returns {boolean} whether one did */
    narrow() {
      if (!covering()) return false;
      wide('');
      stage().draw();
      stage().focus();
      return true;
    },
    print: () => globalThis.print(),
    tags: () => askTags(store.state.tags.join(', '), (text) => store.apply(tagged(store.state, text), 'tags')),
    walk(way, isAdded = false) {
      const key = stepFrom(store, way, stage().row(store.selection.at(-1) ?? ''));
      if (key !== null) store.select(isAdded ? [...store.selection.filter((one) => one !== key), key] : [key]);
      ui.focusStage();
    },
    hide() {
      const keys = [...store.selection];
      ask(keys.length === 1 ? store.nameOf(keys[0]) : `${keys.length} things`, (why) => {
        store.apply(hidden(store.state, keys.flatMap((key) => keysToHide(store, key)), why), 'hide');
        store.select([]);
        ui.focusStage();
      });
    },
    save(kind) {
      if (kind === 'story' && saveStory) return saveStory(storyText(store)).then((said) => ui.tell(said), (error) => ui.tell(error.message, true));
      const from = (kind === 'svg' || kind === 'png') && !stage().svg ? stages.circuit : stage();
      return save(kind, store, from).catch((error) => ui.tell(error.message, true));
    },
    open: () => picker.click(),
    link() {
      const url = String(globalThis.location).split('#')[0] + (toHash(store.state, store.initial, store.selection) || '#');
      navigator.clipboard?.writeText(url).then(() => ui.tell('Copied the link.'), () => ui.tell(url));
    },
    peek(event, name = '', detail = '', lines = []) {
      peek.hidden = event === null;
      if (event === null) return;
      fill(peek, el('b', {}, name), el('span', {}, detail), ...lines.map((line) => el('span.figure', {}, line)));
      const [x, y] = [event.clientX + 16, event.clientY + 18];
      peek.style.left = `${Math.min(x, innerWidth - peek.offsetWidth - 8)}px`;
      peek.style.top = `${y + peek.offsetHeight > innerHeight - 8 ? event.clientY - peek.offsetHeight - 10 : y}px`;
    },
  };
  /** The pane that covers the picture, if one does. */
  const covering = () => [left, right].find((one, at) => root.classList.contains(at ? 'is-wide-right' : 'is-wide-left')) ?? null;
  function wide(side) {
    for (const one of ['left', 'right']) {
      root.classList.toggle(`is-wide-${one}`, one === side);
      root.querySelector(`[data-wide=${one}]`)?.setAttribute('aria-pressed', String(one === side));
    }
    for (const one of [left, middle, right, drawer, bottom]) one.inert = Boolean(side) && one !== (side === 'left' ? left : right);
  }
  const picker = el('input', { type: 'file', accept: '.json,.safetensors,application/json', hidden: true, onchange: async () => take(picker.files[0]) });
  root.append(picker);
  const take = async (file) => {
    if (!file) return;
    try {
      if (isGraph(file, await file.slice(0, 4096).text())) {
        if (!ui.canRun) throw new Error('This page is a file and holds one graph; to open another, run silverstain explore on its folder.');
        ui.tell(`Reading ${file.name} …`);
        globalThis.location.assign(await bring(file));
      } else ui.tell(openStory(store, await file.text()));
    } catch (error) {
      ui.tell(error.message, true);
    }
    picker.value = '';
  };
  const stages = { circuit: circuitStage(middle, store, ui), flow: flowStage(middle, store, ui), table: tableStage(middle, store), contrast: contrastStage(middle, store, ui), matrix: matrixStage(middle, store), lens: lensStage(middle, store, ui), compare: compareStage(middle, store, ui) };
  const propose = proposals(middle, store, ui);
  const view = () => (store.state.view === 'contrast' && !given.contrast ? 'circuit' : store.state.view in stages ? store.state.view : 'circuit');
  const stage = () => stages[view()];
  const [find, showHelp, ask, askTags] = [palette(store, ui), help(ui), reason(ui), question(ui)];
  const updateHeader = header(top, store, ui);
  const updateCounter = counter(bottom, store, ui);
  const updateReading = readingPane(left, store, ui);
  const inspect = inspector(about, store, ui);
  const bench = lab(drawer, store, ui);

  let [saving, remembering] = [0, 0];
  /** @param {'state'|'selection'|'hover'|'answer'} what */
  function update(what) {
    if (what === 'state') {
      for (const [name, one] of Object.entries(stages)) one.frame.hidden = name !== view();
      stage().draw();
      updateHeader();
      updateCounter();
      clearTimeout(saving);
      saving = setTimeout(() => kept.write(given.hash, store.state === store.initial ? null : store.document), AUTOSAVE);
    } else if (what === 'answer') {
      if (store.state.view === 'flow' && store.state.filters.pruned) stage().draw();
      updateCounter();
      return updateReading(what);
    } else if (what === 'selection' && store.state.view === 'flow') stage().draw();
    else stage().mark();
    updateReading(what);
    inspect.update(what);
    bench.update(what);
    propose.update(what);
    root.classList.toggle('has-selection', store.selection.length > 0);
    if (what !== 'hover') {
      clearTimeout(remembering);
      remembering = setTimeout(remember, REMEMBER);
    }
    if (what === 'selection') announce();
    return undefined;
  }
  function remember() {
    const hash = toHash(store.state, store.initial, store.selection);
    try {
      globalThis.history.replaceState(null, '', hash || String(globalThis.location).split('#')[0]);
    } catch {
      // a page without an address, as in a notebook
    }
  }
  function announce() {
    const [key] = store.selection;
    if (!key) return ui.say('nothing selected');
    const share = percent(shareOf(store.page.known, store.selectedNodes), 1);
    return ui.say(store.selection.length > 1 ? `${store.selection.length} selected, ${share} of the influence` : `${store.nameOf(key)}, ${share} of the influence`);
  }
  store.subscribe(update);
  store.subscribe(bridge(store));

  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    const target = /** @type {HTMLElement} */ (event.target);
    const isTyping = target.matches?.('input:not([type=range]):not([type=checkbox]):not([type=radio]),textarea,[contenteditable]');
    const isMod = event.ctrlKey || event.metaKey;
    if (isTyping && !(isMod && event.key.toLowerCase() === 'k')) return;
    const isControl = target.closest?.('button:not(.box),a,summary,input,select') && !target.closest?.('.box');
    if (isControl && ['Enter', ' ', 'ArrowUp', 'ArrowDown', 'ArrowLeft', 'ArrowRight'].includes(event.key)) return;
    const box = stages.circuit.keyAt(target);
    if (box !== null && ['Enter', ' '].includes(event.key) && !store.selection.includes(box)) {
      event.preventDefault();
      store.select([box]);
      return;
    }
    const command = commandOf(event);
    if (!command || (event.altKey && !isMod)) return;
    event.preventDefault();
    ui.run(command.id);
  });
  addEventListener('resize', () => stage().draw());
  for (const query of ['(prefers-color-scheme:dark)', '(prefers-contrast:more)']) matchMedia(query).addEventListener('change', () => stage().draw());
  root.addEventListener('dragover', (event) => event.preventDefault());
  root.addEventListener('drop', (event) => (event.preventDefault(), take(event.dataTransfer?.files[0])));

  update('state');
  update('selection');
  if (remembered && !fragment && store.state !== store.initial) ui.tell('Your earlier work is here again. “Begin again” in the menu takes it away.');
  Object.assign(globalThis, { silverstain: { store, stages, ui, engine } }); // for tests, and for the curious
  root.setAttribute('data-ready', '');
  return store;
}

/** What is hidden where a key is: a box by its key; of a single node that is a box, its id. */
function keysToHide(store, key) {
  if (store.state.view === 'flow') return store.membersOf(key).map((node) => store.page.graph.ids[node]);
  return [key];
}

/** Where there is no graph to show, the reason in a sentence. */
export function refuse(root, error) {
  document.head.append(el('style', {}, themeStyle(':root')));
  fill(root, el('div.refusal', {}, el('h1', {}, 'This graph cannot be shown'), el('p', {}, String(error.message ?? error))));
}
