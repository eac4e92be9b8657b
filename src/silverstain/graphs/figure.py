"""A figure of a graph: its circuit as a file that can be sent to anybody, or shown in a notebook."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from silverstain.figure_files import check_can_draw_png, check_figure_file, ending_of
from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.circuit import Circuit, circuit_of
from silverstain.graphs.pages import circuit_html, circuit_markdown
from silverstain.graphs.story import Story
from silverstain.graphs.svg import circuit_svg
from silverstain.storage import write_bytes_whole

SHARPNESS = 2.0
"""Pixels of a PNG for one of the picture's."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chosen circuit, to be looked at. The last value of a notebook's cell shows itself."""

    circuit: Circuit

    def __repr__(self) -> str:
        return f"Figure({len(self.circuit.nodes)} nodes, {len(self.circuit.edges)} edges)"

    def svg(self, *, follows_theme: bool = True) -> str:
        """The picture; light and dark as the reader's system is, or light everywhere."""
        return circuit_svg(self.circuit, follows_theme=follows_theme)

    def html(self) -> str:
        """A page with the picture and its nodes and edges as tables."""
        return circuit_html(self.circuit)

    def markdown(self) -> str:
        """The same as a note, the picture as a diagram in Mermaid's language."""
        return circuit_markdown(self.circuit)

    def png(self, sharpness: float = SHARPNESS) -> bytes:
        """The picture in pixels; UsageError without the package that draws them."""
        check_can_draw_png()
        import resvg_py  # pyright: ignore[reportMissingImports]

        return bytes(resvg_py.svg_to_bytes(svg_string=self.svg(follows_theme=False), zoom=sharpness))

    def save(self, path: str | Path) -> None:
        """Write the file that its name asks for: .svg, .png, .html or .md, whole or not at all. UsageError else."""
        check_figure_file(path)
        makers: dict[str, Callable[[], bytes]] = {
            ".svg": lambda: self.svg().encode(),
            ".png": self.png,
            ".html": lambda: self.html().encode(),
            ".md": lambda: self.markdown().encode(),
        }
        write_bytes_whole(path, makers[ending_of(path)]())

    def _repr_html_(self) -> str:
        return self.svg()


def figure(graph: GraphArrays, story: Story | None = None, *, boxes: int = 10) -> Figure:
    """The circuit of a graph with at most `boxes` units, groups and names from the story: see `circuit_of`."""
    return Figure(circuit=circuit_of(graph, story or Story(), max_groups=boxes))
