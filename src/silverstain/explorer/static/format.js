/**
 * The document that Python wrote (`silverstain.page/1`), decoded: columns of nodes and edges as typed arrays.
 * @module
 */

export const FORMAT = 'silverstain.page/1';
export const KINDS = ['feature', 'attention', 'error', 'token', 'bias', 'logit'];
export const [FEATURE, ATTENTION, ERROR, TOKEN, BIAS, LOGIT] = [0, 1, 2, 3, 4, 5];

/**
 * @typedef {object} Graph
 * @property {number} n  nodes
 * @property {number} nEdges
 * @property {number} nLayers
 * @property {string[]} ids
 * @property {string[]} names
 * @property {Int8Array} kind
 * @property {Int32Array} layer
 * @property {Int32Array} position
 * @property {Int32Array} feature
 * @property {Float32Array|Float64Array} activation
 * @property {Int32Array|null} key
 * @property {Int32Array} depth  the order in which a model computes: every edge rises in it
 * @property {Int32Array} rowNodes  the target of each row
 * @property {Int32Array} indptr
 * @property {Int32Array} indices  the source of each edge
 * @property {Float32Array|Float64Array} values
 * @property {Float32Array|Float64Array} valuesOfTargets
 * @property {Int32Array} rowOf  the row of each node, -1 where nothing enters it
 * @property {Uint8Array|null} nodeMask
 * @property {Uint8Array|null} edgeMask
 * @property {Float64Array|null} leftOut  of a very large graph, Σ |value| of each row's edges that are not here
 * @property {number} nWhole  and how many edges it has in all; 0 where all are here
 */

const ARRAYS = { Int8Array, Int32Array, Uint8Array, Float32Array, Float64Array };

/**
 * A packed column as the typed array it was. @param {{type: string, data: string}} packed
 */
export function unpacked(packed) {
  const kind = ARRAYS[packed.type];
  if (!kind) throw new Error(`a column is of the unknown type ${packed.type}`);
  const text = atob(packed.data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  if (bytes.length % kind.BYTES_PER_ELEMENT) throw new Error('a column is cut short');
  return new kind(bytes.buffer);
}

/** The graph of a document; an Error says in a sentence why there is none. @returns {Graph} */
export function decoded(document) {
  if (!document || document.format !== FORMAT) {
    throw new Error(`this page reads ${FORMAT}, and was given ${document?.format ?? 'something else'}`);
  }
  const { nodes, edges } = document;
  const column = (from, name) => (from[name] ? unpacked(from[name]) : null);
  const graph = {
    n: nodes.ids.length,
    nEdges: 0,
    nLayers: document.n_layers,
    ids: nodes.ids,
    names: nodes.names,
    kind: column(nodes, 'kind'),
    layer: column(nodes, 'layer'),
    position: column(nodes, 'position'),
    feature: column(nodes, 'feature'),
    activation: column(nodes, 'activation'),
    key: column(nodes, 'key'),
    nodeMask: column(nodes, 'kept'),
    rowNodes: column(edges, 'row_nodes'),
    indptr: column(edges, 'indptr'),
    indices: column(edges, 'indices'),
    values: column(edges, 'values'),
    valuesOfTargets: column(edges, 'values_of_targets'),
    edgeMask: column(edges, 'kept'),
    leftOut: column(edges, 'left_out'),
    nWhole: edges.n_whole ?? 0,
  };
  graph.nEdges = graph.values.length;
  if (graph.indices.length !== graph.nEdges || graph.indptr.length !== graph.rowNodes.length + 1) {
    throw new Error('the columns of edges do not fit each other');
  }
  return withPlaces(graph);
}

/** The graph with what follows from its columns: depth and the row of each node. */
export function withPlaces(graph) {
  const depth = new Int32Array(graph.n);
  for (let i = 0; i < graph.n; i++) depth[i] = 2 * graph.layer[i] + (graph.kind[i] === ATTENTION ? 0 : 1);
  const rowOf = new Int32Array(graph.n).fill(-1);
  graph.rowNodes.forEach((node, row) => (rowOf[node] = row));
  return { ...graph, depth, rowOf };
}

/** Whether a node is a unit: something enters it and leaves it. */
export const isUnit = (graph, node) =>
  graph.kind[node] === FEATURE || (graph.kind[node] === ATTENTION && graph.feature[node] >= 0);

/** Whether a node stands for all of a place that has no node of its own: errors, and attention without a head. */
export const isRest = (graph, node) =>
  graph.kind[node] === ERROR || (graph.kind[node] === ATTENTION && graph.feature[node] < 0);

/**
 * The edges that leave each node: `edges[indptr[i]..indptr[i + 1]]` are indices of edges, and `rows` the row of each.
 * @param {Graph} graph
 */
export function outgoing(graph) {
  const indptr = new Int32Array(graph.n + 1);
  for (const source of graph.indices) indptr[source + 1]++;
  for (let i = 0; i < graph.n; i++) indptr[i + 1] += indptr[i];
  const next = indptr.slice(0, graph.n);
  const edges = new Int32Array(graph.nEdges);
  const rows = new Int32Array(graph.nEdges);
  for (let row = 0; row < graph.rowNodes.length; row++) {
    for (let e = graph.indptr[row]; e < graph.indptr[row + 1]; e++) {
      rows[e] = row;
      edges[next[graph.indices[e]]++] = e;
    }
  }
  return { indptr, edges, rows };
}
