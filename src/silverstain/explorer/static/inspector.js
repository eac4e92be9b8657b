/**
 * The inspector: what is selected, what drives it and what it drives with the share that comes from errors, what is
 * known of it, and what can be done with it. With nothing selected it explains the picture.
 * @module
 */
import { COMMANDS, keyName } from './commands.js';
import { distributionParts } from './distribution.js';
import { button, el, fill } from './dom.js';
import { experimentsIn, outcomeOf, titleOfEvidence } from './experiments.js';
import { FEATURE, isRest, isUnit } from './format.js';
import { inputsOf, outputsOf, shareOf } from './groups.js';
import { beginsWith, legend } from './legend.js';
import { strongestPaths } from './paths.js';
import { labelled, renamedGroup } from './state.js';
import { brief, count, percent, several, signed } from './text.js';
import { tryText } from './try_text.js';

const MOST_ROWS = 10;
const FEWEST_ROWS = 3;
const WEAKEST = 0.005; // what would be read as 0.00 is under the line

/** @param {HTMLElement} root @param {import('./store.js').Store} store */
export function inspector(root, store, ui) {
  let paths = false;
  let renaming = false;
  let shownFor = '';
  const longer = new Set();
  const again = () => {
    const now = store.selection.join('\n');
    if (now !== shownFor) {
      longer.clear();
      paths = renaming = false;
      /** @type {HTMLElement} */ (root.parentElement).scrollTop = 0;
    }
    shownFor = now;
    const more = (name) => ({ isLong: longer.has(name), grow: () => (longer.add(name), again()) });
    const back = button('← Back to the prompt', () => store.select([]), { class: 'link.back', 'data-focus': 'back' });
    if (!store.selection.length) explain();
    else if (store.selection.length > 1) fill(root, back, ...manyParts(store, ui, { paths, more }));
    else fill(root, back, ...oneParts(store, ui, store.selection[0], { paths, more, renaming, renamed }));
    if (renaming) /** @type {HTMLInputElement|null} */ (root.querySelector('input.rename'))?.select();
  };
  let explained = '';
  /** How to read the picture: made again only where it says something else. */
  function explain() {
    const said = `${store.state.view} ${beginsWith(store)?.key} ${beginsWith(store)?.label}`;
    if (said !== explained || !root.querySelector('.legend,.reading')) fill(root, ...legend(store, ui));
    explained = said;
  }
  const renamed = (name) => {
    renaming = false;
    if (name !== null) rename(store, store.selection[0], name);
    again();
    ui.focusStage();
  };
  return {
    update: (what) => what !== 'hover' && again(),
    paths: () => ((paths = true), again(), root.querySelector('.paths')?.scrollIntoView({ block: 'nearest' })),
    rename: () => {
      if (store.selection.length !== 1) return;
      renaming = true;
      again();
    },
  };
}

function rename(store, key, name) {
  const clean = name.trim();
  if (key.startsWith('g:')) {
    if (!clean || clean === key.slice(2)) return;
    const label = key.slice(2);
    const at = store.state.groups.findIndex((group) => group.label === label);
    store.apply(renamedGroup(store.state, label, clean), 'rename');
    store.select([`g:${store.state.groups[at].label}`]);
  } else {
    const [node] = store.membersOf(key);
    if (node !== undefined) store.apply(labelled(store.state, store.page.graph.ids[node], clean), 'rename');
  }
}

function kindOf(store, key, members) {
  const { graph, document } = store.page;
  if (key.startsWith('g:')) return `group of ${several(members.length, 'node')}`;
  if (key.startsWith('w:')) return 'word of the prompt';
  if (key === 'errors') return document.is_rest ? 'all that has no node of its own' : 'what the dictionary does not explain';
  const node = members[0];
  const at = document.tokens[graph.position[node]];
  const where = graph.position[node] >= 0 ? ` at “${at}” (position ${graph.position[node]})` : '';
  if (graph.kind[node] === FEATURE) return `${document.is_rest ? 'unit' : 'feature'} of layer ${graph.layer[node]}${where}`;
  return { attention: `attention in layer ${graph.layer[node]}`, error: `${document.is_rest ? 'the rest' : 'error'} of layer ${graph.layer[node]}${where}`, token: `word of the prompt, position ${graph.position[node]}`, bias: 'constant of the model', logit: 'answer' }[['feature', 'attention', 'error', 'token', 'bias', 'logit'][graph.kind[node]]];
}

function oneParts(store, ui, key, { paths, more, renaming, renamed }) {
  const { graph, known, document } = store.page;
  const members = store.membersOf(key);
  const single = members.length === 1 ? members[0] : -1;
  const name = store.nameOf(key);
  const own = single >= 0 && isUnit(graph, single) && graph.names[single] !== name ? graph.names[single] : '';
  const title = renaming
    ? el('input.rename', {
        value: key.startsWith('g:') ? key.slice(2) : name, 'aria-label': 'new name', 'data-focus': 'rename',
        onkeydown: (event) => {
          if (event.key === 'Enter') renamed(event.target.value);
          if (event.key === 'Escape') renamed(null);
          event.stopPropagation();
        },
      })
    : el('h1', {}, name);
  const facts = [['share of the influence', percent(shareOf(known, members), 1)]];
  if (single >= 0 && graph.kind[single] === 5) facts.splice(0, 1, ['probability', percent(document.targets[store.answers.indexOf(single)]?.probability, 1) || '–']);
  if (single >= 0 && isUnit(graph, single)) {
    facts.push(['activation', brief(graph.activation[single])], ['moves the answer', known.added[single] < 0 ? 'down' : known.added[single] > 0 ? 'up' : 'not at all']);
  }
  if (own) facts.push(['is called', own]);
  const parts = [
    el('header', {}, title, el('p.quiet', {}, kindOf(store, key, members))),
    actions(store, ui, single >= 0 || key.startsWith('g:')),
    el('dl.facts', {}, ...facts.flatMap(([term, value]) => [el('dt', {}, term), el('dd.figure', {}, value)])),
  ];
  const inGroup = single >= 0 && store.groupOf[single] >= 0 ? store.groups[store.groupOf[single]] : null;
  if (inGroup && inGroup.key !== key) parts.push(el('p.quiet', {}, 'in the group ', link(store, inGroup.key, inGroup.label)));
  if (paths) parts.push(...pathParts(store, members, store.answers));
  const driven = inputRows(store, members);
  if (driven.length) parts.push(...list(store, 'Driven by', 'share of its input', driven, more('in')));
  const drives = outputRows(store, members);
  if (drives.length) parts.push(...list(store, 'Drives', 'share of the target’s input', drives, more('out')));
  if (key.startsWith('g:') || key === 'errors') parts.push(...memberParts(store, members, more('members')));
  const card = cardOf(store, members);
  if (card) parts.push(...cardParts(card.card, graph.activation[card.node], single >= 0 ? '' : store.labelOf(card.node)));
  if (ui.canRun && single >= 0 && graph.kind[single] === FEATURE) parts.push(...tryText(ui, graph.layer[single], graph.feature[single], graph.activation[single]));
  const tested = testedParts(store, ui, members);
  if (tested.length) parts.splice(3, 0, ...tested);
  return parts;
}

/** The experiments in which these nodes were changed. */
function testedParts(store, ui, members) {
  const ids = new Set(members.map((node) => store.page.graph.ids[node]));
  const found = experimentsIn(store.state.evidence).filter(({ entry }) => (entry.asked?.edits ?? []).some((edit) => edit.nodes?.some((id) => ids.has(id))));
  return found.length ? [el('ul.tested', {}, ...found.slice(-3).map(({ entry }) => el('li', {}, el('b', {}, 'tested: '), `${titleOfEvidence(entry)}, ${outcomeOf(entry)}`)))] : [];
}

function manyParts(store, ui, { paths, more }) {
  const { known } = store.page;
  const rows = store.selection.map((key) => ({ key, name: store.nameOf(key), share: shareOf(known, store.membersOf(key)) }));
  const ends = [...store.selection].sort((a, b) => lowest(store, a) - lowest(store, b));
  return [
    el('header', {}, el('h1', {}, `${store.selection.length} selected`), el('p.quiet', {}, `${several(store.selectedNodes.length, 'node')}, ${percent(shareOf(known, store.selectedNodes), 1)} of the influence`)),
    actions(store, ui, false),
    ...(paths && ends.length === 2 ? pathParts(store, store.membersOf(ends[0]), store.membersOf(ends[1])) : []),
    ...(paths && ends.length > 2 ? [el('p.quiet', {}, 'Select one to see its paths to the answer, or two to see those between them.')] : []),
    ...list(store, 'Selected', 'share of the influence', rows.map((row) => ({ ...row, isPlain: true })), more('selected')),
  ];
}

const lowest = (store, key) => Math.min(...store.membersOf(key).map((node) => store.page.graph.depth[node]));

function actions(store, ui, canRename) {
  const wanted = ['pin', ...(canRename ? ['rename'] : []), 'group', 'ungroup', 'paths', 'hide'];
  const pinned = new Set(store.state.pins);
  const all = store.selectedNodes.length > 0 && store.selectedNodes.every((node) => pinned.has(store.page.graph.ids[node]));
  const names = { pin: all ? 'Unpin' : 'Pin', rename: 'Rename', group: 'Group', ungroup: 'Ungroup', paths: 'Paths', hide: 'Hide' };
  const can = (command) => (command.can?.(store) ?? true) && !(command.id === 'group' && store.selection.length === 1 && store.selection[0].startsWith('g:'));
  return el(
    'div.actions', { role: 'toolbar', 'aria-label': 'what to do with the selection' },
    ui.canRun && canTest(store) ? button('Test it', () => ui.test(), { class: 'primary', 'data-focus': 'do-test', title: 'Change it in the running model and see whether the answer follows (L)' }) : '',
    ...wanted.map((id) => COMMANDS.find((command) => command.id === id)).filter(can).map((command) =>
      button(names[command.id], () => ui.run(command.id), { 'data-focus': `do-${command.id}`, title: `${command.title} (${keyName(command.keys[0], ui.isMac)})` }),
    ),
  );
}

const canTest = (store) => store.selectedNodes.some((node) => store.page.graph.kind[node] !== 5 && store.page.graph.kind[node] !== 4);

/** Sources of a selection by group; errors and the rest as one line, so that what is not explained is seen. */
function inputRows(store, members) {
  const { graph, known } = store.page;
  const rows = [];
  let errors = 0;
  let n = 0;
  for (const { key, share } of inputsOf(graph, known, members, store.parts.partOf)) {
    if (key >= 0 && isRest(graph, key)) {
      errors += Math.abs(share);
      n++;
    } else rows.push(row(store, key, share));
  }
  if (n) {
    const what = store.page.document.is_rest ? 'all the rest' : 'errors of the dictionary';
    rows.push({ key: '', name: `${what} (${several(n, 'node')})`, share: errors, isError: true });
  }
  return rows.sort((a, b) => Math.abs(b.share) - Math.abs(a.share));
}

/** What a selection drives, without what itself moves no answer. */
const outputRows = (store, members) =>
  outputsOf(store.page.graph, store.page.known, members, store.parts.parts, store.parts.partOf)
    .filter(({ weight }) => weight > 1e-4)
    .map(({ key, share }) => row(store, key, share));

function row(store, key, share) {
  if (key < 0) {
    const part = store.parts.parts[-1 - key];
    return { key: part.key, name: store.nameOf(part.key), share };
  }
  const { graph } = store.page;
  return { key: graph.ids[key], name: store.labelOf(key), detail: isUnit(graph, key) ? placeOf(store, key) : '', share };
}

const placeOf = ({ page: { graph, document } }, node) => `L${graph.layer[node]} “${document.tokens[graph.position[node]] ?? ''}”`;

function list(store, title, meaning, rows, { isLong, grow }) {
  const strong = Math.max(rows.filter((one) => Math.abs(one.share) >= WEAKEST).length, FEWEST_ROWS);
  const shown = rows.slice(0, isLong ? 200 : Math.min(strong, MOST_ROWS));
  const most = Math.max(...rows.map((one) => Math.abs(one.share)), 1e-9);
  const items = shown.map((one) => {
    const sign = one.isPlain ? 'plain' : one.isError ? 'error' : one.share < 0 ? 'lowers' : 'raises';
    const figure = one.isPlain || one.isError ? percent(one.share, 1) : signed(one.share);
    const inside = [el('span.name', {}, one.name), one.detail ? el('span.place', {}, one.detail) : '', el('span.figure', {}, figure), el(`i.bar.${sign}`, { 'aria-hidden': 'true', style: { width: `${(100 * Math.abs(one.share)) / most}%` } })];
    const item = one.key ? button('', () => store.select([one.key]), { class: 'entry', 'data-key': one.key, 'data-focus': `${title}-${one.key}` }) : el('div.entry');
    item.append(...inside.filter(Boolean));
    if (one.key) {
      item.addEventListener('pointerenter', () => store.hover(one.key));
      item.addEventListener('pointerleave', () => store.hover(''));
    }
    return el('li', {}, item);
  });
  const left = rows.slice(shown.length);
  const rest = left.reduce((sum, one) => sum + Math.abs(one.share), 0);
  const tail = left.length
    ? isLong ? el('p.quiet', {}, `and ${count(left.length)} weaker ones, ${percent(rest)}`) : button(`${count(left.length)} more, ${percent(rest)} together`, grow, { class: 'link', 'data-focus': `more-${title}` })
    : null;
  return [el('h2', {}, title, el('span.meaning', {}, meaning)), el('ul.entries', {}, ...items), tail];
}

function memberParts(store, members, more) {
  const { graph, known } = store.page;
  const rows = [...members].sort((a, b) => known.reached[b] - known.reached[a]).map((node) => ({ key: graph.ids[node], name: store.labelOf(node), detail: placeOf(store, node), share: shareOf(known, [node]), isPlain: true }));
  return list(store, 'Members', 'share of the influence', rows, more);
}

function pathParts(store, from, to) {
  const { graph, known } = store.page;
  const found = strongestPaths(graph, known, from, to, 6);
  const title = el('h2.paths', {}, 'Strongest paths', el('span.meaning', {}, 'product of shares'));
  if (!found.length) return [title, el('p.quiet', {}, 'No path leads there whose every edge carries a thousandth of its target’s input.')];
  const items = found.map(({ nodes, weight }) => {
    const steps = nodes.flatMap((node, k) => [k ? el('span.arrow', { 'aria-label': 'to' }, ' → ') : '', link(store, graph.ids[node], store.labelOf(node))]);
    return el('li', {}, el('span.figure', {}, signed(weight, 4)), el('span', {}, ...steps.filter(Boolean)), button('select', () => store.select(nodes.map((node) => graph.ids[node])), { class: 'link' }));
  });
  return [title, el('ol.pathlist', {}, ...items)];
}

function link(store, key, text) {
  const node = button(text, () => store.select([key]), { class: 'reference', 'data-key': key });
  node.addEventListener('pointerenter', () => store.hover(key));
  node.addEventListener('pointerleave', () => store.hover(''));
  return node;
}

/** The card of a selection: of its one node, or of the strongest member that has one. */
function cardOf(store, members) {
  const { graph, known, document } = store.page;
  const ranked = [...members].sort((a, b) => known.reached[b] - known.reached[a]);
  for (const node of ranked.slice(0, 50)) {
    const card = graph.kind[node] === FEATURE && document.cards[`${graph.layer[node]}_${graph.feature[node]}`];
    if (card) return { node, card };
  }
  return null;
}

function cardParts(card, activation, of) {
  const effects = (name, pairs, sign) =>
    pairs.length ? el('div.row.effects', {}, el('span', {}, name), el('span.tokens', {}, ...pairs.slice(0, 6).map(([token, effect]) => el(`span.token.${sign}`, { title: brief(effect) }, token)))) : null;
  const most = Math.max(card.max_activation ?? 0, 1e-9);
  const examples = card.examples.map((one) =>
    el('li', { title: `activation ${brief(one.activation)}` }, ...one.tokens.flatMap((token, i) => (i === one.index ? [el('mark', { style: { '--strength': `${Math.round((100 * one.activation) / most)}%` } }, token), ' '] : [token, ' ']))),
  );
  return [
    el('h2', {}, of ? 'Its strongest feature' : 'What is known of it', of ? el('span.meaning', {}, of) : ''),
    el('p', {}, el('strong', {}, card.label), ` Active at ${percent(card.density, 1)} of the places of its corpus.`),
    card.precision || card.recall ? el('p.quiet', {}, `How well the label fits: precision ${percent(card.precision, 0)}, recall ${percent(card.recall, 0)}.`) : null,
    ...distributionParts(card, activation),
    effects('promotes', card.promotes, 'raises'),
    effects('suppresses', card.suppresses, 'lowers'),
    examples.length ? el('h3', {}, 'Where it is strongest') : null,
    examples.length ? el('ul.examples', {}, ...examples) : null,
  ];
}
