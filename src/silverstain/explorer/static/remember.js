/**
 * The state in the page's address when it is small, and kept by the browser between visits.
 * @module
 */
const LONGEST = 1800;

/** The part of a state that differs from the one the page began with, as a fragment; '' where it is too long. Experiments
 * are not in it: they go with the story. */
export function toHash(state, initial, selection = []) {
  const changed = Object.fromEntries(Object.entries(state).filter(([key, value]) => key !== 'evidence' && JSON.stringify(value) !== JSON.stringify(initial[key])));
  if (selection.length && selection.length <= 20) changed.selection = selection;
  if (!Object.keys(changed).length) return '';
  const text = encode(JSON.stringify(changed));
  return text.length <= LONGEST ? `#s=${text}` : '';
}

/** What `toHash` wrote; null for anything else. */
export function fromHash(hash) {
  const text = /^#s=([\w-]+)$/.exec(hash)?.[1];
  if (!text) return null;
  try {
    const value = JSON.parse(decode(text));
    return value && typeof value === 'object' && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

const encode = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
const decode = (text) => new TextDecoder().decode(Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (letter) => letter.charCodeAt(0)));

/** The browser's own memory, which may be forbidden or full: then nothing is kept, and nothing breaks. */
export const kept = {
  key: (hash) => `silverstain ${hash}`,
  read(hash) {
    try {
      return JSON.parse(globalThis.localStorage.getItem(this.key(hash)) ?? 'null');
    } catch {
      return null;
    }
  },
  write(hash, story) {
    try {
      if (story === null) globalThis.localStorage.removeItem(this.key(hash));
      else globalThis.localStorage.setItem(this.key(hash), JSON.stringify(story));
    } catch {
      // not kept
    }
  },
};
