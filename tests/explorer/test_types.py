"""The page's modules keep to the types that their comments state."""

import subprocess

from tests.explorer.javascript import NODE, needs_node, tool

from silverstain.explorer.bundle import STATIC

FLAGS = (
    "--noEmit --allowJs --checkJs --target es2023 --module esnext --moduleResolution bundler "
    "--lib es2023,dom,dom.iterable --strict --noImplicitAny false --strictNullChecks "
    "false --useUnknownInCatchVariables false"
)


@needs_node
def test_types_hold():
    compiler = tool("typescript") / "bin" / "tsc"
    modules = [str(path) for path in sorted(STATIC.glob("*.js"))]
    assert NODE is not None
    done = subprocess.run([NODE, str(compiler), *FLAGS.split(), *modules], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:]
