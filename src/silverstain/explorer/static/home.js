/**
 * The start page: a prompt is traced while its phases are told, an example is opened, and past work is searched. All
 * that it shows was written by the server; without scripts the list of graphs still opens.
 * @module
 */
import { phaseOf, work } from './ask.js';
import { bring } from './bring.js';

const byId = (id) => /** @type {any} */ (document.getElementById(id));
const [form, status, phase, bar, cancel, filter, second] = ['ask', 'status', 'phase', 'bar', 'cancel', 'filter', 'second'].map(byId);
/** @type {AbortController|null} */
let running = null;
let started = 0;
let ticking = 0;
let told = '';

/** Trace, telling what is being done; opens the graph when it is there. */
async function trace(asked) {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  started = performance.now();
  status.hidden = false;
  status.classList.remove('is-error');
  cancel.hidden = false;
  form.classList.add('is-busy');
  bar.removeAttribute('value');
  bar.hidden = false;
  told = 'asking the server';
  clearInterval(ticking);
  ticking = setInterval(tell, 500);
  tell();
  try {
    const done = await work('trace', asked, {
      signal: mine.signal,
      onEvent(event) {
        told = phaseOf(event, told);
        if (event.event === 'progress') bar.value = event.done / Math.max(event.total, 1);
        else bar.removeAttribute('value');
        tell();
      },
    });
    end('opening the graph');
    location.assign(`/view?graph=${encodeURIComponent(done.graph)}`);
  } catch (error) {
    if (running !== mine) return;
    const isCancelled = error.name === 'AbortError' || error.message === 'cancelled';
    end(isCancelled ? 'Cancelled. Nothing was written.' : sentence(error.message), !isCancelled);
  }
}

function tell() {
  const seconds = Math.round((performance.now() - started) / 1000);
  phase.textContent = `${sentence(told)} · ${seconds} s`;
}

function end(text, isError = false) {
  clearInterval(ticking);
  phase.textContent = text;
  status.classList.toggle('is-error', isError);
  cancel.hidden = bar.hidden = true;
  form.classList.remove('is-busy');
  running = null;
  if (isError) byId('prompt').focus();
}

const sentence = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const asked = Object.fromEntries(new FormData(form));
  trace({ model: asked.model, prompt: asked.prompt, other: second.hidden ? '' : (asked.other ?? '') });
});
form.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && event.target.matches('textarea')) {
    event.preventDefault();
    form.requestSubmit();
  }
  if (event.key === 'Escape') running?.abort();
});
cancel.addEventListener('click', () => running?.abort());
byId('compare').addEventListener('click', (event) => {
  second.hidden = !second.hidden;
  event.currentTarget.setAttribute('aria-expanded', String(!second.hidden));
  event.currentTarget.textContent = second.hidden ? 'Compare with a second prompt' : 'One prompt only';
  (second.hidden ? byId('prompt') : byId('other')).focus();
});
for (const node of document.querySelectorAll('[data-example]')) {
  node.addEventListener('click', () => {
    trace({ example: node.getAttribute('data-example') });
    status.scrollIntoView({ block: 'nearest' });
  });
}

const items = [...document.querySelectorAll('#graphs > li[data-text], #reports > li')];
const tags = /** @type {any} */ (document.getElementById('tags'));
let tag = '';

/** Only the graphs and studies whose prompt, answer, name or tag has the words that were typed. */
function search() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let n = 0;
  for (const item of items) {
    const text = item.getAttribute('data-text') ?? '';
    const own = (item.getAttribute('data-tags') ?? '').split('\n');
    const is = words.every((word) => text.includes(word)) && (!tag || own.includes(tag));
    /** @type {any} */ (item).hidden = !is;
    n += Number(is);
  }
  byId('found').textContent = n === items.length ? '' : `${n} of ${items.length}`;
}
filter?.addEventListener('input', search);
tags?.addEventListener('click', (event) => {
  const chip = event.target.closest('button');
  if (!chip) return;
  tag = chip.getAttribute('aria-pressed') === 'true' ? '' : (chip.getAttribute('data-tag') ?? '');
  for (const one of tags.querySelectorAll('button')) one.setAttribute('aria-pressed', String(one.getAttribute('data-tag') === tag));
  search();
});
addEventListener('keydown', (event) => {
  if (event.key === '/' && filter && !(/** @type {any} */ (event.target).matches('input,textarea,select'))) {
    event.preventDefault();
    filter.focus();
  }
});
const picker = byId('file');
const brought = byId('brought');

/** A graph file is sent to the server, and opened. @param {File|undefined} file */
async function take(file) {
  if (!file) return;
  brought.hidden = false;
  brought.classList.remove('is-error');
  brought.textContent = `Reading ${file.name} …`;
  try {
    location.assign(await bring(file));
  } catch (error) {
    brought.classList.add('is-error');
    brought.textContent = error.message; // begins with the name of the file
    brought.scrollIntoView({ block: 'nearest' });
  }
  picker.value = '';
}
byId('bring')?.addEventListener('click', () => picker.click());
picker?.addEventListener('change', () => take(picker.files[0]));
addEventListener('dragover', (event) => {
  event.preventDefault();
  document.body.classList.add('is-dropping');
});
addEventListener('dragleave', (event) => event.relatedTarget === null && document.body.classList.remove('is-dropping'));
addEventListener('drop', (event) => {
  event.preventDefault();
  document.body.classList.remove('is-dropping');
  take(event.dataTransfer?.files[0]);
});
document.body.setAttribute('data-ready', '');
