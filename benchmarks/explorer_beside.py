"""The same graphs in circuit-tracer's viewer and in ours, one after the other in the same browser.

Their page comes from their package and takes scripts from other places; those are served here from npm's packages of
the same libraries (d3 7 with d3-jetpack, dagre 0.8.5, pako 2.1.0), fetched into a temporary folder and not kept. Acts
are a click on a node, a pin, a slider moved, in a view that shows every node. Beside the time to the next painted
frame stands how long the page's own thread had a processor. Their slider waits 300 ms before it does anything, which
its time to the frame contains. Appends one line of JSON to runs/explorer-beside.jsonl. Nothing is asserted.

    python benchmarks/explorer_beside.py
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from explorer import PATIENCE, SIZES, keep, on_processor, random_graph
from silverstain.explorer import graph_html
from silverstain.graphs import Graph, write_graph_json

RESULTS = Path("runs/explorer-beside.jsonl")
LIBRARIES = ("d3@7", "d3-jetpack@2.3.0", "dagre@0.8.5", "pako@2.1.0")
SERVED = {
    "d3.js": ("d3/dist/d3.js", "d3-collection/dist/d3-collection.js"),
    "jetpack_2024-07-20.js": ("d3-jetpack/build/d3-jetpack.cjs",),
    "dagre.min.js": ("dagre/dist/dagre.min.js",),
    "pako.min.js": ("pako/dist/pako.min.js",),
}
"""What their page asks of other places, by the name of the file; other scripts are answered by empty ones."""
DRAW_AXIS = """{
  const { conventions } = d3;
  d3.conventions = (given) => {
    const c = conventions(given);
    const axis = (svg, name) => svg.append('g').attr('class', `${name} axis`).call(c[`${name}Axis`]);
    c.drawAxis = (svg) => (axis(svg, 'x').attr('transform', `translate(0,${c.height})`), axis(svg, 'y'));
    return c;
  };
}"""
"""What their copy of d3-jetpack has besides npm's."""
LOOP = "() => { let sum = 0; for (let k = 0; k < 1e7; k++) sum += Math.sqrt(k); globalThis.sum = sum; }"
FRAME = "const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));"
THEIRS = f"""() => {{
  {FRAME}
  const all = () => [...document.querySelectorAll('.link-graph text.node')];
  const nodes = () => all().filter((one) => one.__data__.feature_type !== 'logit');
  const at = (node, type, more = {{}}) => {{
    const box = node.getBoundingClientRect();
    const place = {{ clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 }};
    document.querySelector('.link-graph').dispatchEvent(new MouseEvent(type, {{ bubbles: true, ...place, ...more }}));
  }};
  const slider = document.querySelector('.slider-container input');
  const again = async (value) => {{
    const old = document.querySelector('.gridsnap');
    slider.value = value;
    slider.dispatchEvent(new Event('input'));
    const isDrawn = () => document.querySelector('.gridsnap') !== old && nodes().length;
    while (!isDrawn()) await frame();
  }};
  globalThis.bench = {{
    'click': (k) => at(nodes()[(97 * k + 13) % nodes().length], 'click'),
    'pin': (k) => at(nodes()[(31 * k + 7) % nodes().length], 'click', {{ ctrlKey: true }}),
    'slider of nodes': (k) => again(0.9 - 0.05 * k),
  }};
}}"""
OURS = """() => {
  const { store } = silverstain;
  const { graph } = store.page;
  const apply = (changes) => store.apply({ ...store.state, ...changes }, 'a step');
  apply({ view: 'flow', nodeShare: 1 });
  const shown = graph.ids.filter((_, i) => store.visible.nodes[i] && graph.kind[i] === 0);
  globalThis.bench = {
    'click': (k) => store.select([shown[(97 * k + 13) % shown.length]]),
    'pin': (k) => apply({ pins: [...store.state.pins, shown[(31 * k + 7) % shown.length]] }),
    'slider of nodes': (k) => apply({ nodeShare: 0.9 - 0.05 * k }),
  };
}"""
RUN = f"""async ([name, times]) => {{
  {FRAME}
  const all = [];
  for (let k = 0; k < times; k++) {{
    const start = performance.now();
    await globalThis.bench[name](k);
    await frame();
    all.push(performance.now() - start);
  }}
  return all;
}}"""
ACTS = {"click": 6, "pin": 6, "slider of nodes": 4}


def fetched(folder: Path) -> tuple[Path, Path]:
    """Their page, and the libraries that it takes."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "circuit-tracer"]
    subprocess.run(pip, check=True)
    with zipfile.ZipFile(next(folder.glob("circuit_tracer-*.whl"))) as wheel:
        wheel.extractall(folder)
    npm = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
    subprocess.run([*npm, *LIBRARIES], check=True, stdout=subprocess.DEVNULL)
    return parts(folder)


def parts(folder: Path) -> tuple[Path, Path]:
    return folder / "circuit_tracer" / "frontend" / "assets", folder / "node_modules"


def script(file: Path) -> str:
    """The text of a library; d3-jetpack's, which npm has as a module alone, adds to the d3 that is there."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".js":
        return text
    define = "window.define = (names, make) => make(...names.map(() => d3)); window.define.amd = true;"
    return f"{define}\n{text}\ndelete window.define;\n{DRAW_AXIS}"


def served(folder: Path) -> ThreadingHTTPServer:
    """A server of a folder on a free port; what their own server also does, pack large files, is left out."""

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(folder))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def stand_in(page: Any, own: str, libraries: Path) -> None:
    """Answer what their page asks of other places."""

    def answer(route: Any) -> None:
        name = route.request.url.split("?")[0].rsplit("/", 1)[1]
        if name in SERVED:
            text = "\n".join(script(libraries / file) for file in SERVED[name])
            route.fulfill(body=text, content_type="text/javascript")
        elif name.endswith(".js"):
            route.fulfill(body="", content_type="text/javascript")
        else:
            route.fulfill(status=404, body="")

    page.route(lambda url: not url.startswith(own), answer)


def acts_of(page: Any, setup: str) -> dict[str, Any]:
    page.evaluate(setup)
    found: dict[str, Any] = {}
    for name, times in ACTS.items():
        page.evaluate(RUN, [name, 2])
        page.wait_for_timeout(500)
        before = on_processor()
        wall = page.evaluate(RUN, [name, times])
        found[name] = {"milliseconds": statistics.median(wall), "on_processor": (on_processor() - before) / times}
    return found


def opened(page: Any, url: str, selector: str) -> dict[str, float]:
    """How long it takes until the graph is drawn, in milliseconds, and the page's heap."""
    page.set_default_timeout(PATIENCE)
    start, before = perf_counter(), on_processor()
    page.goto(url, timeout=PATIENCE)
    page.wait_for_selector(selector, timeout=PATIENCE, state="attached")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    spent = {"milliseconds": 1000 * (perf_counter() - start), "on_processor": on_processor() - before}
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    return {**spent, "first_paint": painted}


def loop_of(page: Any) -> dict[str, float]:
    before = on_processor()
    several = (
        f"const t = performance.now(); for (let k = 0; k < 5; k++) ({LOOP})(); return (performance.now() - t) / 5;"
    )
    wall = page.evaluate(f"() => {{ {several} }}")
    return {"milliseconds": wall, "on_processor": (on_processor() - before) / 5}


def beside(browser: Any, graph: Graph, name: str, folder: Path, theirs: tuple[Path, Path]) -> dict[str, Any]:
    slug = "".join(letter if letter.isalnum() else "-" for letter in name)
    assets, libraries = theirs
    for name_of in ("data", "graph_data"):
        (assets / name_of).mkdir(exist_ok=True)
    file = assets / "graph_data" / f"{slug}.json"
    write_graph_json(graph, file, slug=slug, scan="nobody/none")
    metadata = json.loads(file.read_text())["metadata"]
    (assets / "data" / "graph-metadata.json").write_text(json.dumps({"graphs": [metadata]}))
    server = served(assets)
    own = f"http://127.0.0.1:{server.server_port}"
    (folder / "ours.html").write_text(graph_html(graph, name=name), encoding="utf-8")
    found: dict[str, Any] = {"nodes": graph.n_nodes, "edges": graph.n_edges}
    for who in ("theirs", "ours"):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        errors: list[str] = []
        page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
        if who == "theirs":
            stand_in(page, own, libraries)
            open_ = opened(page, f"{own}/index.html?slug={slug}", ".link-graph text.node")
        else:
            open_ = opened(page, (folder / "ours.html").as_uri(), "[data-ready]")
        result = {"open": open_, **acts_of(page, THEIRS if who == "theirs" else OURS), "loop": loop_of(page)}
        result["heap_mb"] = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
        result["errors_on_the_page"] = sorted(set(errors))[:5]
        found[who] = result
        page.close()
    server.shutdown()
    server.server_close()
    return found


def main() -> None:
    from playwright.sync_api import sync_playwright

    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--only", help="the sizes whose name has this text")
    given.add_argument("--fetched", type=Path, help="a folder into which this was fetched before, by --fetch")
    given.add_argument("--fetch", action="store_true", help="fetch into that folder, and measure nothing")
    asked = given.parse_args()
    if asked.fetch:
        fetched(asked.fetched)
        return
    torch.set_num_threads(1)
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        theirs = parts(asked.fetched) if asked.fetched else fetched(Path(folder))
        flags = ["--no-sandbox", "--enable-precise-memory-info"]
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        result: dict[str, Any] = {"browser": browser.version, "load": os.getloadavg()[0]}
        for name in list(SIZES)[:2]:
            if asked.only and asked.only not in name:
                continue
            result[name] = beside(browser, random_graph(*SIZES[name]), name, Path(folder), theirs)
            print(name, json.dumps(result[name]), file=sys.stderr, flush=True)
        result["load_after"] = os.getloadavg()[0]
        browser.close()
    keep(result, RESULTS)


if __name__ == "__main__":
    main()
