"""Cards as Neuronpedia's feature JSON, a file a feature."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from silverstain.features.card_table import CardTable
from silverstain.features.packed import feature_json
from silverstain.storage import write_json_whole


def write_neuronpedia(cards: CardTable, folder: str | Path) -> int:
    """Write `LAYER_FEATURE.json` for every card, as Neuronpedia's schema of feature details has it; how many."""
    folder = Path(folder)
    for row in (cards.table.slice(at, 1).to_pylist()[0] for at in range(len(cards))):
        write_json_whole(folder / f"{row['layer']}_{row['feature']}.json", neuronpedia_json(row, cards))
    return len(cards)


def neuronpedia_json(row: Mapping[str, Any], cards: CardTable) -> dict[str, Any]:
    """A card in Neuronpedia's terms: what viewers of graphs read, and the values and explanations of its own pages."""
    shared = feature_json(row, cards)
    kept = ("index", "examples_quantiles", "top_logits", "bottom_logits", "act_min", "act_max", "quantile_values")
    return {
        **{name: shared[name] for name in kept},
        "layer": row["layer"],
        "top_logit_values": [token["weight"] for token in row["promotes"] or ()],
        "bottom_logit_values": [token["weight"] for token in row["suppresses"] or ()],
        "histogram": shared["histogram"],
        "activation_frequency": shared["activation_frequency"],
        "frac_nonzero": float(row["density"]),
        "maxActApprox": float(row["maximum"]),
        "explanations": [
            {"description": label["text"], "typeName": f"silverstain-{label['kind']}", "score": label["score"]}
            for label in row["labels"] or ()
        ],
        "neighbors": [
            {"layer": unit["layer"], "index": unit["feature"], "cosine": unit["weight"]}
            for unit in row["nearest"] or ()
        ],
    }
