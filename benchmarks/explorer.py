"""How fluid the explorer's page is on graphs of up to 10,000 nodes, as multiples of a loop that the same browser runs.

Appends one line of JSON to runs/explorer.jsonl. Nothing is asserted: machines differ, and so does what else they do.

    python benchmarks/explorer.py
"""

import json
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from silverstain.explorer import graph_html
from silverstain.graphs import Graph, NodeLayout, node_table

RESULTS = Path("runs/explorer.jsonl")
SIZES = {
    "700 nodes": (600, 12, 10, 20),
    "10,000 nodes": (9_200, 26, 24, 150),
    "8,000 nodes, millions of edges": (6_600, 26, 24, 3_400),
}
"""Features, layers, positions, most inputs of a node."""
WORK = """async () => {
  const { store, stages } = silverstain;
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const found = {};
  const measure = async (name, act) => {
    const times = [];
    for (let k = 0; k < 8; k++) {
      const start = performance.now();
      act(k);
      await frame();
      times.push(performance.now() - start);
    }
    found[name] = times.slice(1);
  };
  await measure('loop', () => { let sum = 0; for (let k = 0; k < 1e7; k++) sum += Math.sqrt(k); found.sum = sum; });
  const keys = store.circuit.boxes.map((box) => box.key);
  await measure('click in the circuit', (k) => store.select([keys[(5 * k + 3) % keys.length]]));
  await measure('another number of boxes', (k) => store.apply({ ...store.state, boxes: 5 + k }, 'boxes'));
  const units = store.page.graph.ids.filter((_, i) => store.page.graph.kind[i] === 0);
  store.apply({ ...store.state, pins: units.slice(0, 200) }, 'pins');
  await frame();
  await measure('one more pin than 200', (k) => store.apply({ ...store.state, pins: units.slice(0, 201 + k) }, 'pin'));
  store.apply({ ...store.state, pins: [] }, 'no pins');
  store.select([]);
  store.apply({ ...store.state, view: 'flow' }, 'view');
  await frame();
  await measure('slider of nodes', (k) => store.apply({ ...store.state, nodeShare: 0.3 + 0.08 * k }, 'nodes'));
  await measure('slider of edges', (k) => store.apply({ ...store.state, edgeShare: 0.3 + 0.08 * k }, 'edges'));
  store.apply({ ...store.state, nodeShare: 0.8, edgeShare: 0.8 }, 'back');
  const ids = store.page.graph.ids.filter((_, i) => store.visible.nodes[i]);
  await measure('click in the flow', (k) => store.select([ids[(97 * k) % ids.length]]));
  await measure('hover in the flow', (k) => store.hover(ids[(31 * k + 7) % ids.length]));
  await measure('zoom of the flow', () => stages.flow.zoom(1.1));
  found.heap = performance.memory.usedJSHeapSize;
  found.painted = performance.getEntriesByName('first-contentful-paint')[0]?.startTime;
  delete found.sum;
  return found;
}"""


def random_graph(n_features: int, n_layers: int, n_positions: int, most_inputs: int) -> Graph:
    """A graph of random features and edges, weak ones far more often than strong ones."""
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(n_features, 3, generator=generator)
    key = (places[:, 0] * n_layers).long() * 10**9
    key += (1 + places[:, 1] * (n_positions - 1)).long() * 10**5 + (places[:, 2] * 10**5).long()
    key = key.unique()
    layout = NodeLayout(
        n_features=len(key), n_layers=n_layers, n_positions=n_positions, n_logits=4, n_real=1, n_attention=0
    )
    nodes = node_table(
        layout,
        layer=key // 10**9,
        position=key // 10**5 % 10**4,
        feature=key % 10**5,
        activation=torch.rand(len(key), generator=generator) * 5,
        token_ids=range(n_positions),
        target_ids=range(4),
        target_probabilities=(0.5, 0.2, 0.1, 0.05),
        target_position=n_positions - 1,
    )
    rows = (nodes.is_unit | nodes.is_kind("logit")).nonzero().flatten()
    order = nodes.depth.argsort(stable=True)
    sorted_depth = nodes.depth[order]
    indptr, sources = [0], []
    for row in rows.tolist():
        below = int(torch.searchsorted(sorted_depth, nodes.depth[row]))
        drawn = order[torch.randint(0, below, (min(most_inputs, below),), generator=generator)].unique()
        sources.append(drawn[nodes.position[drawn] <= nodes.position[row]])
        indptr.append(indptr[-1] + len(sources[-1]))
    n = indptr[-1]
    words = [f"word{k}" for k in range(n_positions)]
    return Graph(
        nodes=nodes,
        row_nodes=rows,
        indptr=torch.tensor(indptr),
        indices=torch.cat(sources),
        values=torch.randn(n, generator=generator) * torch.rand(n, generator=generator) ** 4,
        values_of_targets=torch.randn(len(rows), generator=generator),
        meta={"prompt": " ".join(words), "tokens": words},
    )


def measured(browser: Any, graph: Graph, folder: Path) -> dict[str, Any]:
    """Medians in multiples of the loop, and sizes."""
    making = perf_counter()
    html = graph_html(graph, name="benchmark")
    file = folder / "page.html"
    file.write_text(html, encoding="utf-8")
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    made = perf_counter() - making
    start = perf_counter()
    page.goto(file.as_uri())
    page.wait_for_selector("[data-ready]", timeout=120_000)
    opened = perf_counter() - start
    found = page.evaluate(WORK)
    page.close()
    loop = statistics.median(found.pop("loop"))
    heap, painted = found.pop("heap"), found.pop("painted")
    medians = {name: statistics.median(times) for name, times in found.items()}
    return {
        "nodes": graph.n_nodes,
        "edges": graph.n_edges,
        "bytes": len(html),
        "made_ms": 1000 * made,
        "heap_mb": heap / 1e6,
        "loop_ms": loop,
        "opened_ms": 1000 * opened,
        "painted_ms": painted,
        "milliseconds": medians,
        "ratios": {name: one / loop for name, one in medians.items()},
    }


def main() -> None:
    from playwright.sync_api import sync_playwright

    torch.set_num_threads(1)
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        flags = ["--no-sandbox", "--enable-precise-memory-info"]
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        result: dict[str, Any] = {"browser": browser.version, "load": os.getloadavg()[0]}
        for name, size in SIZES.items():
            result[name] = measured(browser, random_graph(*size), Path(folder))
        browser.close()
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
