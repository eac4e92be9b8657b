"""The page's modules run by node, so that they can be compared with Python."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from silverstain.explorer.bundle import STATIC

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed, which runs the page's modules")
TOOLS = "SILVERSTAIN_NODE"
"""The variable that names the folder into which npm installed development tools; by default .venv/node."""


def tool(name: str) -> Path:
    """A development tool of npm's, or the test is skipped with the command that installs it."""
    root = Path(__file__).parents[2]
    for folder in (os.environ.get(TOOLS), root / ".venv" / "node", root):
        found = Path(folder) / "node_modules" / name if folder else None
        if found is not None and found.is_dir():
            return found
    pytest.skip(f"{name} is not installed: npm install --no-save --prefix .venv/node {name} (.ci/run has the version)")


def run_module(body: str, given: Any = None, *, modules: tuple[str, ...] = ()) -> Any:
    """What `body`, the inside of an async function of `given` and of the modules by name, returns; NaN becomes null."""
    imports = "\n".join(f"import * as {name} from '{(STATIC / name).as_uri()}.js';" for name in modules)
    program = f"""{imports}
import {{ readFileSync }} from 'node:fs';
const given = JSON.parse(readFileSync(0, 'utf8'));
const found = await (async () => {{ {body} }})();
console.log(JSON.stringify(found, (key, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value)));
"""
    assert NODE is not None
    done = subprocess.run(
        [NODE, "--input-type=module", "--eval", program],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
