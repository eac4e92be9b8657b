/**
 * The flow as SVG, for export: what the canvas shows, without the camera.
 * @module
 */
import { themeStyle } from './colours.js';
import { LOGIT, TOKEN } from './format.js';
import { glyphOf, outline } from './glyphs.js';
import { FONT } from './picture.js';
import { inXml } from './text.js';

/** @param {any} scene  that of the canvas */
export function flowSvg({ page, flow, nodes, edges, labelOf }, { title = '', followsTheme = true } = {}) {
  const { graph, known } = page;
  const n = (value) => value.toFixed(1);
  let most = 0;
  for (const amount of edges.flows) most = Math.max(most, amount);
  const lines = [];
  edges.edges.forEach((e, k) => {
    const [source, target] = [graph.indices[e], graph.rowNodes[edges.rows[k]]];
    const [x0, y0, x1, y1] = [flow.x[source], flow.y[source], flow.x[target], flow.y[target]];
    const bend = (y0 - y1) * 0.45;
    const strength = Math.sqrt(edges.flows[k] / most);
    const lowers = known.signed[e] < 0;
    lines.push(`<path d="M${n(x0)} ${n(y0)}C${n(x0)} ${n(y0 - bend)} ${n(x1)} ${n(y1 + bend)} ${n(x1)} ${n(y1)}" stroke="var(--${lowers ? 'lowers' : 'raises'})"${lowers ? ' stroke-dasharray="5 4"' : ''} stroke-width="${n(0.8 + 2 * strength)}" opacity="${(0.08 + 0.6 * strength).toFixed(2)}"/>`);
  });
  const marks = [];
  const names = [];
  for (let i = 0; i < nodes.length; i++) {
    if (!nodes[i]) continue;
    const { shape, colour, isHollow } = glyphOf(graph, known, i);
    const [x, y] = [flow.x[i], flow.y[i]];
    marks.push(`<path d="${outline(shape, x, y, flow.size[i])}" fill="var(--${isHollow ? 'page' : colour})" stroke="var(--${isHollow ? colour : 'page'})" stroke-width="1.6"><title>${inXml(labelOf(i))}</title></path>`);
    if (graph.kind[i] === TOKEN) names.push(`<text x="${n(x)}" y="${n(y + 24)}">${inXml(labelOf(i))}</text>`);
    if (graph.kind[i] === LOGIT) names.push(`<text x="${n(x)}" y="${n(y - 14)}" font-weight="600">${inXml(labelOf(i))}</text>`);
  }
  const rows = flow.rows.filter((row) => row.name).map((row) => `<text x="10" y="${n(row.y + 4)}" text-anchor="start" class="row">${inXml(row.name)}</text>`);
  const style = `${themeStyle('svg', { followsTheme })} text{font:13px ${FONT};fill:var(--ink);text-anchor:middle} .row{fill:var(--faint);font-size:12px;text-anchor:start}`;
  const size = `width="${Math.ceil(flow.width)}" height="${Math.ceil(flow.height)}" viewBox="0 0 ${Math.ceil(flow.width)} ${Math.ceil(flow.height)}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img" aria-label="${inXml(title)}"><title>${inXml(title)}</title><style>${style}</style><rect width="100%" height="100%" fill="var(--page)"/><g fill="none">${lines.join('')}</g>${marks.join('')}${rows.join('')}${names.join('')}</svg>`;
}
