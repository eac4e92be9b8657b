/**
 * Finding nodes, groups and words by what they are called, and commands by what they do.
 * @module
 */

/** How well a text answers a query: 0 not at all; more for a beginning, for whole words, for short texts. */
export function fit(text, query) {
  const have = text.toLowerCase();
  const want = query.trim().toLowerCase();
  if (!want) return 0;
  if (have === want) return 80;
  if (have.startsWith(want)) return 60 + 20 / (1 + have.length);
  const at = have.indexOf(want);
  if (at >= 0) return (/\W/.test(have[at - 1] ?? ' ') ? 40 : 25) + 10 / (1 + have.length);
  const words = want.split(/\s+/);
  return words.length > 1 && words.every((word) => have.includes(word)) ? 15 : 0;
}

/**
 * The entries that answer a query, best first: those that fit, and of these rather what matters (`weight`, 0 to 1).
 * @template {{texts: string[], weight?: number}} T
 * @param {T[]} entries @param {number} most @returns {T[]}
 */
export function found(entries, query, most = 30) {
  return entries
    .map((entry) => ({ entry, score: Math.max(0, ...entry.texts.map((text) => fit(text, query))) }))
    .filter((one) => one.score > 0)
    .map(({ entry, score }) => ({ entry, score: score + 25 * Math.sqrt(Math.min(Math.max(entry.weight || 0, 0), 1)) }))
    .sort((a, b) => b.score - a.score)
    .slice(0, most)
    .map((one) => one.entry);
}
