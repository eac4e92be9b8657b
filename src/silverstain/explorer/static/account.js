/**
 * What is drawn, in words: sentences for the page, whose phrases name boxes, and a note in Markdown.
 * @module
 */
import { detailOf } from './picture.js';
import { count, percent, signed } from './text.js';

const STRONG = 0.08;

/**
 * A sentence is a list of texts and references to boxes. Only those of the `most` strongest boxes are made, and of answers.
 * @typedef {(string|{box: number})[]} Sentence
 * @returns {Sentence[]}
 */
export function sentences({ boxes, edges }, most = Infinity) {
  const isUnit = (box) => !['token', 'logit', 'error'].includes(box.kind);
  const strongest = boxes.map((_, i) => i).filter((i) => isUnit(boxes[i])).sort((a, b) => boxes[b].share - boxes[a].share || a - b);
  const units = strongest.slice(0, most).sort((a, b) => boxes[a].layer - boxes[b].layer || a - b);
  const into = (i) => edges.filter((edge) => edge.target === i).sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  const out = [];
  for (const i of [...units, ...boxes.flatMap((box, k) => (box.kind === 'logit' ? [k] : []))]) {
    const inputs = into(i).filter((edge) => Math.abs(edge.weight) >= STRONG).slice(0, 3);
    if (!inputs.length) continue;
    const raising = inputs.filter((edge) => edge.weight > 0);
    const lowering = inputs.filter((edge) => edge.weight < 0);
    const list = (some) => some.flatMap((edge, k) => [k ? (k === some.length - 1 ? ' and ' : ', ') : '', { box: edge.source }]);
    /** @type {Sentence} */
    const sentence = [{ box: i }];
    if (isUnit(boxes[i]) && Number.isFinite(boxes[i].share)) sentence.push(` (${percent(boxes[i].share)})`);
    if (raising.length) sentence.push(boxes[i].kind === 'logit' ? ' is what ' : ' is driven by ', ...list(raising), boxes[i].kind === 'logit' ? (raising.length > 1 ? ' lead to' : ' leads to') : '');
    if (lowering.length) sentence.push(raising.length ? ', and held back by ' : ' is held back by ', ...list(lowering));
    out.push([...sentence, '.']);
  }
  return out;
}

/** A title for the picture: the prompt and its answer. */
export function titleOf(document) {
  if (document.contrast) return document.contrast.explained;
  const [answer] = document.targets;
  return answer ? `${document.prompt} → ${answer.name}${answer.probability === null ? '' : ` ${percent(answer.probability, 1)}`}` : document.prompt;
}

/** One line: how many nodes are drawn and what they carry. */
export const counted = (visible) => `${count(visible.drawn)} of ${count(visible.total)} nodes drawn, ${percent(visible.share)} of the influence`;

/** The account of what is drawn, as a note. */
export function markdownOf({ document }, circuit, visible, notes = []) {
  const { boxes, edges } = circuit;
  const rows = boxes.filter((box) => box.kind !== 'token').map((box) => [box.label, box.isGroup ? 'group' : box.kind, percent(box.share), detailOf(box)]);
  const links = edges.map((edge) => [boxes[edge.source].label, boxes[edge.target].label, signed(edge.weight) + (edge.direct ? '' : ' (through nodes that are not drawn)')]);
  const told = sentences(circuit).map((parts) => parts.map((part) => (typeof part === 'string' ? part : `**${inMarkdown(boxes[part.box].label)}**`)).join(''));
  const parts = [
    `# ${inMarkdown(titleOf(document))}`,
    [document.model, document.dictionary].filter(Boolean).map(inMarkdown).join(' · '),
    `> ${inMarkdown(document.trust.line)}`,
    `${counted(visible)}.`,
    told.join('\n'),
    table(['box', 'kind', 'share', 'detail'], rows),
    table(['from', 'to', 'share of its input'], links),
    visible.reasons.length ? `Not drawn:\n\n${visible.reasons.map((reason) => `- ${count(reason.nodes)} (${percent(reason.share) || '0 %'}): ${inMarkdown(reason.why)}`).join('\n')}` : '',
    notes.length ? `Notes:\n\n${notes.map((note) => `- ${inMarkdown(note)}`).join('\n')}` : '',
  ];
  return `${parts.filter(Boolean).join('\n\n')}\n`;
}

const inMarkdown = (text) => String(text).replace(/[\\`*_[\]<>|#~$]/g, '\\$&').replace(/\s*\n\s*/g, ' ');

const table = (head, rows) =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map((cell) => (cell === '---' ? cell : inMarkdown(cell))).join(' | ')} |`).join('\n');
