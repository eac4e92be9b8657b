/**
 * The K-curve as a drawing: the difference of two answers with K units patched, by each order, on a scale of logarithms.
 * @module
 */
import { inXml, signed } from './text.js';

const [NARROWEST, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [320, 276, 52, 16, 18, 50];
export const ORDERS = { signed: 'by the account', largest_change: 'the largest changes', random: 'random units' };

/** Where a number of units stands: 0 at the left, then by logarithm. */
export const xOf = (k, most, width) => LEFT + (k <= 0 ? 0 : (0.06 + (0.94 * Math.log(k)) / Math.log(Math.max(most, 2))) * (width - LEFT - RIGHT));

/**
 * @param {{base: number, contrast: number, curves: Record<string, [number, number][]>}} found
 * @param {{k: number, value: number}|null} now  what is patched at this moment
 * @param {[string, string]} answers  of the base and of the contrast
 * @param {number} [room]  width in pixels
 */
export function curveSvg({ base, contrast, curves }, now, answers, room = 560) {
  const width = Math.max(room, NARROWEST);
  const points = Object.values(curves).flat();
  const values = [base, contrast, 0, ...points.map(([, value]) => value), ...(now ? [now.value] : [])];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const pad = (high - low) * 0.06 || 1;
  const most = Math.max(500, ...points.map(([k]) => k));
  const y = (value) => TOP + ((high + pad - value) / (high - low + 2 * pad)) * (HEIGHT - TOP - BOTTOM);
  const f = (value) => value.toFixed(1);
  const level = (value, text, kind, isLow = false) => `<path class="${kind}" d="M${LEFT} ${f(y(value))}H${width - RIGHT}"/><text x="${LEFT + 6}" y="${f(y(value) + (isLow ? 16 : -5))}">${inXml(text)}</text>`;
  const lines = Object.entries(curves).map(([method, list]) => {
    const all = [[0, base], ...list];
    return `<path class="curve ${method}" d="${all.map(([k, value], i) => `${i ? 'L' : 'M'}${f(xOf(k, most, width))} ${f(y(value))}`).join('')}"/>${list.map(([k, value]) => `<circle class="${method}" cx="${f(xOf(k, most, width))}" cy="${f(y(value))}" r="3"><title>${k} units ${ORDERS[method]}: ${signed(value)}</title></circle>`).join('')}`;
  });
  const ticks = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500].map((k) => `<text class="tick" x="${f(xOf(k, most, width))}" y="${HEIGHT - 30}" text-anchor="middle">${k}</text>`);
  const ends = `${level(contrast, `second prompt ${signed(contrast, 1)}`, 'end')}${level(base, `first prompt ${signed(base, 1)}`, 'end', true)}`;
  const dot = now ? `<path class="now" d="M${f(xOf(now.k, most, width))} ${TOP}V${HEIGHT - BOTTOM}"/><circle class="now" cx="${f(xOf(now.k, most, width))}" cy="${f(y(now.value))}" r="6"/>` : '';
  return `<svg class="kcurve" width="${width}" height="${HEIGHT}" viewBox="0 0 ${width} ${HEIGHT}" role="img" aria-label="the difference of the two answers by the number of units patched"><path class="zero" d="M${LEFT} ${f(y(0))}H${width - RIGHT}"/><text class="tick" x="4" y="${f(y(0) - 6)}">${inXml(answers[1])}</text><text class="tick" x="4" y="${f(y(0) + 14)}">${inXml(answers[0])}</text>${lines.join('')}${ends}${ticks.join('')}<text class="tick" x="${width - RIGHT}" y="${HEIGHT - 10}" text-anchor="end">units put in</text>${dot}</svg>`;
}

/** Curves that a story keeps: the page's own, or what `silverstain verify` left. */
export function curvesIn(evidence) {
  const own = [...evidence].reverse().find((entry) => entry?.kind === 'curves');
  if (own && own.curves && Number.isFinite(own.base)) return own;
  const proof = [...evidence].reverse().find((entry) => entry?.kind === 'proof of a contrast' && Array.isArray(entry.curve));
  if (!proof || !Number.isFinite(proof.base)) return null;
  const curves = Object.fromEntries(Object.keys(ORDERS).map((method) => [method, proof.curve.filter((row) => Number.isFinite(row[method])).map((row) => [row.k, row[method]])]).filter(([, list]) => list.length));
  return { base: proof.base, contrast: proof.contrast, curves, turned: { k: proof.smallest_k ?? null, first_choice: proof.smallest?.signed?.first_choice ?? false } };
}
