"""What came of a graph's claims, as a notebook shows it: the verdicts in words, the agreement, the strongest claims."""

from collections.abc import Mapping
from html import escape

from silverstain.printable import printable
from silverstain.verification.agreement import Agreement
from silverstain.verification.claims import Claim, strongest

MOST_ROWS = 12
SIDE = 220
"""Of the scatter, in pixels."""
_STYLE = (
    ".sv{font:14px/1.5 system-ui,sans-serif;display:flex;flex-wrap:wrap;gap:16px 32px;align-items:flex-start}"
    ".sv table{border-collapse:collapse}"
    ".sv th,.sv td{padding:3px 12px 3px 0;text-align:left;border-bottom:1px solid #8884}"
    ".sv td.n{text-align:right;font-variant-numeric:tabular-nums}.sv p{margin:0 0 8px}.sv svg{display:block}"
    ".sv circle{fill:#2f6fd0;opacity:.7}.sv line{stroke:currentColor;opacity:.4}"
    ".sv text{font:12px system-ui;fill:currentColor}"
)


def verification_html(claims: tuple[Claim, ...], verdicts: Mapping[str, int], agreed: Agreement) -> str:
    """A piece of HTML that needs nothing else, of claims, how many have which verdict, and their agreement."""
    said = ", ".join(f"{n} {name}" for name, n in verdicts.items() if n) or "no claims"
    rank = "too few claims for a correlation" if agreed.spearman != agreed.spearman else f"{agreed.spearman:.2f}"
    rows = "".join(map(_row, strongest(claims, MOST_ROWS)))
    left = len(claims) - MOST_ROWS
    more = f"<p>and {left} more</p>" if left > 0 else ""
    return (
        f'<style>{_STYLE}</style><div class="sv"><div><p><b>{len(claims)} claims of the graph, each measured '
        f"on the real model:</b> {escape(said)}.</p>"
        f"<p>Rank correlation of predicted and measured: {rank}; random moves of the same size: "
        f"{_number(agreed.control)} of the effect.</p><table><thead><tr><th>when this is ablated</th>"
        "<th>this changes</th><th>predicted</th><th>measured</th><th>verdict</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{more}</div>{_scatter(claims)}</div>"
    )


def _row(claim: Claim) -> str:
    names = (escape(printable(name, 80)) for name in (claim.source_name, claim.target_name))
    cells = "".join(f"<td>{name}</td>" for name in names)
    values = "".join(f'<td class="n">{_number(value, "+")}</td>' for value in (claim.predicted, claim.measured))
    return f"<tr>{cells}{values}<td>{escape(claim.verdict)}</td></tr>"


def _number(value: float, sign: str = "") -> str:
    return "–" if value != value else f"{value:{sign}.2f}"


def _scatter(claims: tuple[Claim, ...]) -> str:
    """Predicted against measured effects on answers; on the diagonal they agree."""
    points = [(c.predicted, c.measured) for c in claims if c.kind.endswith("logit")]
    points = [(x, y) for x, y in points if abs(x) + abs(y) < float("inf")]
    most = max((abs(value) for point in points for value in point), default=0.0)
    if not most:
        return ""

    def at(value: float) -> float:
        return SIDE / 2 + value / most * (SIDE / 2 - 8)

    dots = "".join(f'<circle cx="{at(x):.1f}" cy="{SIDE - at(y):.1f}" r="3"/>' for x, y in points)
    return (
        f'<svg width="{SIDE + 20}" height="{SIDE + 24}" role="img" aria-label="predicted against measured effects on '
        f'answers, {len(points)} claims"><g transform="translate(16 4)">'
        f'<line x1="0" y1="{SIDE}" x2="{SIDE}" y2="0" stroke-dasharray="4 4"/>'
        f'<line x1="0" y1="{SIDE / 2}" x2="{SIDE}" y2="{SIDE / 2}"/>'
        f'<line x1="{SIDE / 2}" y1="0" x2="{SIDE / 2}" y2="{SIDE}"/>{dots}'
        f'<text x="{SIDE}" y="{SIDE + 15}" text-anchor="end">predicted →</text>'
        f'<text x="-4" y="{SIDE / 2}" transform="rotate(-90 -4 {SIDE / 2})" text-anchor="middle">measured →</text>'
        "</g></svg>"
    )
