/**
 * Groups that are proposed, one by one: each is looked at, and accepted or rejected. What is accepted is one step that
 * can be undone.
 * @module
 */
import { work } from './ask.js';
import { button, el, fill } from './dom.js';
import { shareOf } from './groups.js';
import { grouped } from './state.js';
import { percent, several } from './text.js';

/** Proposals less what is in a group already; those with fewer than two members left are none. */
export function openProposals(proposed, state, index) {
  const taken = new Set(state.groups.flatMap((group) => group.members));
  return proposed
    .map((one) => ({ ...one, members: one.members.filter((id) => index.has(id) && !taken.has(id)) }))
    .filter((one) => one.members.length > 1);
}

/** @param {HTMLElement} root @param {import('./store.js').Store} store @param {any} ui */
export function proposals(root, store, ui) {
  const panel = el('div.proposals', { hidden: true, role: 'region', 'aria-label': 'proposed groups' });
  root.append(panel);
  /** @type {{label: string, members: string[], kind: string}[]|null} */
  let listed = null;
  let said = '';

  async function ask() {
    said = 'Looking for groups …';
    draw();
    try {
      listed = (await work('proposals', { graph: ui.graphPath })).groups;
      said = '';
    } catch (error) {
      said = error.message;
    }
    draw();
  }

  const close = () => ((panel.hidden = true), ui.focusStage());
  panel.addEventListener('keydown', (event) => event.key === 'Escape' && (event.stopPropagation(), close()));

  function accept(one) {
    store.apply(grouped(store.state, one.members, one.label), 'accept a group');
    store.select([`g:${store.state.groups.at(-1).label}`]);
    reject(one);
  }

  function reject(one) {
    listed = (listed ?? []).filter((other) => other.label !== one.label);
    draw();
  }

  function draw() {
    if (panel.hidden) return;
    const { known, index } = store.page;
    const open = openProposals(listed ?? [], store.state, index).map((one) => ({ ...one, share: shareOf(known, one.members.map((id) => index.get(id))) })).sort((a, b) => b.share - a.share);
    const items = open.map((one, i) => el('li', {},
      button(one.label, () => store.select(one.members), { class: 'reference', 'data-focus': `see-${i}`, title: 'select its members' }),
      el('span.quiet', {}, `${several(one.members.length, 'node')} · ${percent(one.share, 1)}`),
      el('span.actions', {}, button('Accept', () => accept(one), { 'data-focus': `accept-${i}`, 'aria-label': `accept ${one.label}` }), button('Reject', () => reject(one), { 'data-focus': `reject-${i}`, 'aria-label': `reject ${one.label}` }))));
    fill(panel, el('header', {}, el('h2', {}, 'Proposed groups'), button('✕', close, { class: 'tool', 'aria-label': 'close the proposals' })),
      el('p.quiet', { role: 'status' }, said || (listed && !open.length ? 'There is nothing more to group: every proposal is in your circuit already, or was rejected.' : 'Click a name to see what is in it. What you accept can be undone.')),
      el('ul', {}, ...items));
  }

  return {
    toggle() {
      panel.hidden = !panel.hidden;
      if (panel.hidden) return ui.focusStage();
      if (listed) draw();
      else if (ui.canRun) ask();
      else {
        said = 'Proposals come from the model: open this graph with silverstain explore.';
        draw();
      }
      return panel.querySelector('button')?.focus();
    },
    update: (what) => what === 'state' && draw(),
  };
}
