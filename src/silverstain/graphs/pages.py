"""A circuit as a page that needs nothing else: HTML for a browser, Markdown for a note."""

from silverstain.graphs.circuit import Circuit, CircuitNode
from silverstain.graphs.pen import in_xml
from silverstain.graphs.svg import circuit_svg, percent, signed, trust_of

STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,-apple-system,'Segoe UI','Helvetica Neue',Arial,sans-serif;max-width:1100px;
  margin:2rem auto;padding:0 1rem;color:#1d2733;background:#fff}
h1{font-size:1.3rem;font-weight:650}h2{font-size:1rem;margin-top:2rem}
figure{margin:1rem 0;overflow-x:auto}.trust{border-left:4px solid;padding:.3rem .8rem}
.good{border-color:#15803d}.partial,.unknown{border-color:#b7791f}.poor{border-color:#c2410c;font-weight:600}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .7rem;border-bottom:1px solid #8883}
td.n{text-align:right;font-variant-numeric:tabular-nums}
@media (prefers-color-scheme:dark){body{color:#e8edf3;background:#0b0f14}}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
NODE_COLUMNS = ("unit", "kind", "layer", "at", "share", "name")
EDGE_COLUMNS = ("from", "to", "weight", "")
SHAPES = {"logit": ('(["', '"])'), "token": ('["', '"]'), "error": ('{{"', '"}}'), "attention": ('[["', '"]]')}


def circuit_html(circuit: Circuit) -> str:
    """A page with the picture, what it is worth, and its nodes and edges as tables; it loads and runs nothing."""
    title, trust = _title(circuit), trust_of(circuit)
    said = f'<p class="trust {trust.level}">{in_xml(trust.line)}</p>' if trust else ""
    read_by = " · ".join(name for name in (circuit.model, circuit.dictionary) if name)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{in_xml(title)}</title>\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{in_xml(POLICY)}">\n<style>{STYLE}</style></head><body>\n'
        f"<h1>{in_xml(title)}</h1>\n{_html_runs(circuit)}<p>{in_xml(read_by)}</p>\n{said}\n<figure>{circuit_svg(circuit)}</figure>\n"
        f"<h2>Units</h2>\n{_html_table(NODE_COLUMNS, _node_rows(circuit), right=(4,))}\n"
        f"<h2>Edges</h2>\n{_html_table(EDGE_COLUMNS, _edge_rows(circuit), right=(2,))}\n</body></html>\n"
    )


def circuit_markdown(circuit: Circuit) -> str:
    """The prompt, a diagram in Mermaid's language, what it is worth, and its nodes and edges as tables."""
    trust = trust_of(circuit)
    parts = [
        f"# {_in_markdown(_title(circuit))}",
        _markdown_runs(circuit),
        " · ".join(_in_markdown(name) for name in (circuit.model, circuit.dictionary) if name),
        f"> {_in_markdown(trust.line)}" if trust else "",
        f"```mermaid\n{circuit_mermaid(circuit)}\n```",
        _markdown_table(NODE_COLUMNS, _node_rows(circuit)),
        _markdown_table(EDGE_COLUMNS, _edge_rows(circuit)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def circuit_mermaid(circuit: Circuit) -> str:
    """The circuit as a flow chart, words at the bottom; dashed arrows lower."""
    lines = ["flowchart BT"]
    for i, node in enumerate(circuit.nodes):
        left, right = SHAPES.get("attention" if node.is_attention else node.kind, ('("', '")'))
        share = "" if node.share is None or node.kind == "token" else f"<br>{percent(node.share)}{node.arrow}"
        lines.append(f"    n{i}{left}{_in_mermaid(node.label)}{share}{right}")
    for edge in circuit.edges:
        arrow = "-->" if edge.weight > 0 else "-.->"
        lines.append(f'    n{edge.source} {arrow}|"{signed(edge)}"| n{edge.target}')
    return "\n".join(lines)


def _title(circuit: Circuit) -> str:
    return (circuit.prompt if circuit.contrast is None else circuit.contrast.explained) or "Circuit"


def _html_runs(circuit: Circuit) -> str:
    """Both prompts of a contrast, what differs in them marked."""
    rows = [
        f'<tr><th scope="row">{side.name}</th><td>'
        + "".join(f"<mark>{in_xml(p.text)}</mark>" if p.is_changed else in_xml(p.text) for p in side.pieces)
        + f"</td><td>{in_xml(side.answer)}</td></tr>"
        for side in (() if circuit.contrast is None else circuit.contrast.sides)
    ]
    return f"<table>{''.join(rows)}</table>\n" if rows else ""


def _markdown_runs(circuit: Circuit) -> str:
    lines = [
        f"- {side.name}: "
        + "".join(f"**{_in_markdown(p.text)}**" if p.is_changed else _in_markdown(p.text) for p in side.pieces)
        + (f" → {_in_markdown(side.answer)}" if side.answer else "")
        for side in (() if circuit.contrast is None else circuit.contrast.sides)
    ]
    return "\n".join(lines)


def _node_rows(circuit: Circuit) -> list[list[str]]:
    """From the answers down, the strongest unit of a kind first."""
    rank = {"logit": 0, "token": 3, "error": 2}
    ordered = sorted(circuit.nodes, key=lambda node: (rank.get(node.kind, 1), -(node.share or 0.0)))
    return [
        [node.label, _kind(circuit, node), _layer(node), _places(circuit, node), _share(node), node.name]
        for node in ordered
    ]


def _kind(circuit: Circuit, node: CircuitNode) -> str:
    unit = "attention" if node.is_attention else circuit.units.removesuffix("s")
    known = {"token": "word", "logit": "answer", "feature": unit, "error": "rest" if circuit.is_rest else "error"}
    return known.get(node.kind, f"group of {node.n_members}" if node.n_members > 1 else unit)


def _layer(node: CircuitNode) -> str:
    return "" if node.kind in ("token", "logit", "error") else f"{node.layer:.1f}".removesuffix(".0")


def _places(circuit: Circuit, node: CircuitNode) -> str:
    """The positions, with the words there; of many the first ones."""
    if node.kind == "error":
        return ""
    named = [f"{at} {circuit.tokens[at]}" if 0 <= at < len(circuit.tokens) else str(at) for at in node.positions[:6]]
    return ", ".join([*named, "…"] if len(node.positions) > 6 else named)


def _share(node: CircuitNode) -> str:
    return "" if node.share is None else percent(node.share) + node.arrow


def _edge_rows(circuit: Circuit) -> list[list[str]]:
    names = [node.label for node in circuit.nodes]
    return [
        [names[e.source], names[e.target], signed(e), "" if e.is_direct else "through units that are not drawn"]
        for e in circuit.edges
    ]


def _html_table(head: tuple[str, ...], rows: list[list[str]], *, right: tuple[int, ...]) -> str:
    cells = "".join(f'<th scope="col">{in_xml(name)}</th>' for name in head)
    body = "\n".join(
        "<tr>"
        + "".join(f"<td{' class=n' if i in right else ''}>{in_xml(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _markdown_table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(_in_markdown(cell) if cell != "---" else cell for cell in row) + " |" for row in lines
    )


def _in_markdown(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#~$" else letter for letter in text)


def _in_mermaid(text: str) -> str:
    """Text within quotes, in Mermaid's own way of writing characters that mean something there."""
    return "".join(f"#{ord(letter)};" if letter in '"#;<>&`|[](){}\\' else letter for letter in text)
