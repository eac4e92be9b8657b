/**
 * What the page asks of the server's models: work that is answered by a stream of events, and can be cancelled.
 * @module
 */

/** Who asks, so that the server lets several people take turns; nobody is told more of it. */
const me = () => {
  try {
    const storage = globalThis.sessionStorage;
    const name = storage.getItem('silverstain me') ?? String(Math.random()).slice(2);
    storage.setItem('silverstain me', name);
    return name;
  } catch {
    return '1';
  }
};

/**
 * Ask for work and tell every event as it comes. Resolves to the last event; an Error says in a sentence why there is
 * none. An aborted request rejects with the signal's own error.
 * @param {string} kind @param {Record<string, any>} asked
 * @param {{onEvent?: (event: any) => void, signal?: AbortSignal}} [how]
 */
export async function work(kind, asked, { onEvent = () => undefined, signal } = {}) {
  const answer = await reached(fetch('/api/work', { method: 'POST', signal, headers: { 'content-type': 'application/json', 'x-silverstain': me() }, body: JSON.stringify({ kind, ...asked }) }));
  if (!answer.ok || !answer.body) throw new Error((await answer.json().catch(() => ({}))).error ?? `the server answered ${answer.status}`);
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    rest += decoder.decode(value, { stream: !done });
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines.filter(Boolean)) {
      const event = JSON.parse(line);
      if (event.event === 'error') throw new Error(event.error);
      if (event.event === 'cancelled') throw new Error('cancelled');
      if (event.event === 'done') return event;
      onEvent(event);
    }
    if (done) throw new Error('the server stopped before this was done; start it again');
  }
}

async function reached(asking) {
  try {
    return await asking;
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Error('the server does not answer; is it still running?');
  }
}

/** An event in words, for a line that says what is being done. */
export function phaseOf(event, before = '') {
  if (event.event === 'phase') return event.name;
  if (event.event === 'waiting') return event.ahead ? `waiting: ${event.ahead} before you` : 'waiting: you are next';
  if (event.event === 'progress') return `${before.replace(/ \(\d+ of \d+\)$/, '')} (${event.done} of ${event.total})`;
  return before;
}
