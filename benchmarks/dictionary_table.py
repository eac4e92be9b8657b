"""A dictionary of a real model beside what no dictionary needs: one table, on text that was kept back.

    python benchmarks/dictionary_table.py smollm2-135m FOLDER --text FILE --tokens 8192

Rows: the dictionary as it is stored; others (--beside), such as one with a frozen random decoder; the model's neurons,
as many a token as the dictionary has features active, the largest by what they write, and ten times as many; the best
affine map of each MLP, fitted to other text (--fit) or, without it, to these very tokens; zero and mean
output. Every figure is over the same tokens, all MLPs replaced, with
95 % intervals by the bootstrap over sequences.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from silverstain.bases import ConstantSubstitute, NeuronSubstitute, open_dictionary
from silverstain.evaluation import score_graphs
from silverstain.evaluation.fidelity import Measured
from silverstain.evaluation.held_out import HeldOut
from silverstain.loading import load
from silverstain.models import LanguageModel
from silverstain.training import text_batches

FIGURES = ("nmse", "nmse_pooled", "l0", "kl", "top1_match", "ce_model", "ce_replaced", "ce_recovered")
TRACED_TOKENS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("dictionary", type=Path)
    parser.add_argument(
        "--beside", action="append", default=[], metavar="NAME=FOLDER",
        help="another dictionary, such as one whose decoder was never trained; may be repeated",
    )  # fmt: skip
    parser.add_argument("--dictionaries-only", action="store_true", help="measure no row that needs no dictionary")
    parser.add_argument("--text", type=Path, action="append", required=True)
    parser.add_argument("--fit", type=Path, action="append", help="text that the affine maps are fitted to")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--prompts", type=int, default=8, help="texts that are traced; 0: none")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "dictionary.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = load(given.model).model
    dictionary = open_dictionary(given.dictionary)
    batches = some_batches(model, given.text, given.tokens)
    held_out = HeldOut(model, batches)
    found: dict[str, Any] = {
        "model": given.model, "dictionary": str(given.dictionary.name), "n_tokens": held_out.n_tokens,
        "n_sequences": held_out.n_sequences, "rows": {},
    }  # fmt: skip
    if given.dictionaries_only and given.out.exists():
        kept = json.loads(given.out.read_text())
        assert kept["n_tokens"] == held_out.n_tokens, "the rows on file are of other text"
        found = kept
    given.out.parent.mkdir(parents=True, exist_ok=True)

    def add(name: str, substitute: object) -> dict[str, Any]:
        row = found["rows"][name] = row_of(held_out, substitute)
        given.out.write_text(json.dumps(found, indent=1) + "\n")  # a run that is cut short keeps what it has
        print(f"{name:16} " + " ".join(f"{figure} {row.get(figure, 0):.3f}" for figure in FIGURES), flush=True)
        return row

    l0 = round(add("dictionary", dictionary)["l0"])
    if not given.dictionaries_only:
        mean = held_out.mean_output
        fitted = held_out if given.fit is None else HeldOut(model, some_batches(model, given.fit, 4 * given.tokens))
        add(f"{l0} neurons", NeuronSubstitute(model, l0))
        add(f"{10 * l0} neurons", NeuronSubstitute(model, 10 * l0))
        add("affine map", fitted.affine_maps)
        add("mean output", mean)
        add("zero", ConstantSubstitute(torch.zeros_like(mean.outputs)))
    for name, folder in (pair.split("=", 1) for pair in given.beside):
        add(name, open_dictionary(folder))
    found["graphs"] = graphs(model, dictionary, batches, given.prompts)
    given.out.write_text(json.dumps(found, indent=1) + "\n")


def some_batches(model: LanguageModel, texts: list[Path], tokens: int) -> list[Any]:
    """About so many tokens, as many of each text, in contexts of 128."""
    found, share = [], tokens // len(texts)
    for text in texts:
        batches, n = text_batches(model, text, batch=8, held_out_share=0.0).training(), 0
        while n < share:
            found.append(next(batches))
            n += found[-1].n_tokens
    return found


@torch.no_grad()
def row_of(held_out: HeldOut, substitute: object) -> dict[str, Any]:
    """The figures of one substitute, with intervals."""
    measured = Measured(held_out, substitute)
    for batch, harvested in held_out.harvests():
        measured.add(batch, harvested)
    fidelity, (ends, _) = measured.fidelity(), measured.intervals(0)
    row: dict[str, Any] = {name: value for name in FIGURES if (value := getattr(fidelity, name)) is not None}
    row |= {"dead": fidelity.dead, "affine_nmse": fidelity.affine_nmse, "nmse_layers": fidelity.nmse_layers}
    return row | {"intervals": {name: ends[name] for name in FIGURES if name in ends}}


def graphs(model: LanguageModel, dictionary: Any, batches: list[Any], n: int) -> dict[str, Any]:
    """Replacement and completeness of graphs of the first tokens of some held-out contexts."""
    prompts = [("text", ids) for batch in batches for ids in batch.token_ids[:, :TRACED_TOKENS].tolist()]
    step = max(1, len(prompts) // n) if n else 1
    return score_graphs(model, dictionary, prompts[::step][:n]).to_json() if n else {}


if __name__ == "__main__":
    main()
