"""How fluid the explorer's page is on graphs of up to 10,000 nodes, as multiples of a loop that the same browser runs.

Beside the time from an act to the next painted frame stands how long the page's own thread had a processor for it,
which tells less of what else the machine does. Appends one line of JSON to runs/explorer.jsonl. Nothing is asserted.

    python benchmarks/explorer.py
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from silverstain.explorer import graph_html
from silverstain.graphs import Graph, NodeLayout, node_table

RESULTS = Path("runs/explorer.jsonl")
SIZES = {
    "700 nodes": (600, 12, 10, 34),
    "10,000 nodes": (9_200, 26, 24, 150),
    "8,000 nodes, 9 million edges": (8_000, 26, 24, 4_600),
}
"""Features, layers, positions, most inputs of a node."""
PATIENCE = 300_000
SETUP = """async () => {
  const { store, stages } = silverstain;
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const { graph, known } = store.page;
  const keys = store.circuit.boxes.map((box) => box.key);
  const strongest = [...graph.kind.keys()].filter((i) => graph.kind[i] === 0)
    .sort((a, b) => known.reached[b] - known.reached[a]).map((i) => graph.ids[i]);
  const apply = (changes) => store.apply({ ...store.state, ...changes }, 'a step');
  let shown = [];
  const acts = {
    'loop': [() => 0, () => { let sum = 0; for (let k = 0; k < 1e7; k++) sum += Math.sqrt(k); globalThis.sum = sum; }],
    'click in the circuit': [() => 0, (k) => store.select([keys[(5 * k + 3) % keys.length]])],
    'another number of boxes': [() => 0, (k) => apply({ boxes: 5 + k })],
    'one more pin than 200': [
      () => apply({ pins: strongest.slice(0, 200) }),
      (k) => apply({ pins: strongest.slice(0, 201 + k) })],
    'slider of nodes': [
      () => (store.select([]), apply({ pins: [], boxes: 10, view: 'flow' })),
      (k) => apply({ nodeShare: 0.3 + 0.08 * k })],
    'slider of edges': [() => apply({ nodeShare: 0.8 }), (k) => apply({ edgeShare: 0.3 + 0.08 * k })],
    'click in the flow': [
      () => (apply({ edgeShare: 0.8 }), (shown = graph.ids.filter((_, i) => store.visible.nodes[i]))),
      (k) => store.select([shown[(97 * k) % shown.length]])],
    'hover in the flow': [() => 0, (k) => store.hover(shown[(31 * k + 7) % shown.length])],
    'zoom of the flow': [() => 0, () => stages.flow.zoom(1.1)],
  };
  globalThis.bench = {
    names: Object.keys(acts),
    async prepare(name) {
      acts[name][0]();
      acts[name][1](9);
      await frame();
      await new Promise((done) => setTimeout(done, 300));
    },
    async run(name) {
      const times = [];
      for (let k = 0; k < 7; k++) {
        const start = performance.now();
        acts[name][1](k);
        await frame();
        times.push(performance.now() - start);
        await new Promise((done) => setTimeout(done, 250)); // no act waits for another's frames
      }
      return times;
    },
  };
}"""


def on_processor() -> float:
    """Milliseconds that the main threads of pages have run, of all browsers that this process has started."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    total = 0
    for pid in parents:
        at = pid
        while at in parents and at != os.getpid():
            at = parents[at]
        if at != os.getpid():
            continue
        with contextlib.suppress(OSError, ValueError):
            if b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes():
                total += int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0])
    return total / 1e6


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


def acts(page: Any) -> dict[str, Any]:
    """Medians of the time to the next frame, and the mean of the time on a processor, in milliseconds and as multiples
    of the loop."""
    wall: dict[str, float] = {}
    processor: dict[str, float] = {}
    for name in page.evaluate("bench.names"):
        page.evaluate("(name) => bench.prepare(name)", name)
        before = on_processor()
        times = page.evaluate("(name) => bench.run(name)", name)
        processor[name] = (on_processor() - before) / len(times)
        wall[name] = statistics.median(times)
    return {
        "milliseconds": wall,
        "on_processor": processor,
        "ratios": {name: one / wall["loop"] for name, one in wall.items()},
        "ratios_on_processor": {name: one / processor["loop"] for name, one in processor.items()},
    }


def measured(browser: Any, graph: Graph, folder: Path) -> dict[str, Any]:
    """What opening the graph takes, what each act takes, and how large the page's heap is then."""
    making = perf_counter()
    html = graph_html(graph, name="benchmark")
    file = folder / "page.html"
    file.write_text(html, encoding="utf-8")
    made = perf_counter() - making
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(PATIENCE)
    start, before = perf_counter(), on_processor()
    page.goto(file.as_uri(), timeout=PATIENCE)
    page.wait_for_selector("[data-ready]", timeout=PATIENCE)
    opened, on_page = perf_counter() - start, on_processor() - before
    page.evaluate(SETUP)
    found = acts(page)
    heap = page.evaluate("performance.memory.usedJSHeapSize")
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    where = page.evaluate("silverstain.engine.where")
    page.close()
    return {
        "nodes": graph.n_nodes, "edges": graph.n_edges, "bytes": len(html), "sums_in": where, "made_ms": 1000 * made,
        "opened_ms": 1000 * opened, "opened_on_processor": on_page, "painted_ms": painted, "heap_mb": heap / 1e6,
        **found,
    }  # fmt: skip


def keep(result: dict[str, Any], path: Path) -> None:
    """Append a result as one line, and print it."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    print(json.dumps(result, indent=2))


def main() -> None:
    from playwright.sync_api import sync_playwright

    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--only", help="the sizes whose name has this text")
    asked = given.parse_args()
    torch.set_num_threads(1)
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        flags = ["--no-sandbox", "--enable-precise-memory-info"]
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        result: dict[str, Any] = {"browser": browser.version, "load": os.getloadavg()[0]}
        for name, size in SIZES.items():
            if asked.only and asked.only not in name:
                continue
            result[name] = measured(browser, random_graph(*size), Path(folder))
            print(name, json.dumps(result[name]), file=sys.stderr, flush=True)
        result["load_after"] = os.getloadavg()[0]
        browser.close()
    keep(result, RESULTS)


if __name__ == "__main__":
    main()
