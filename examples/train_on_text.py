"""Train a dictionary on text, measure it on text that was held out, and trace a prompt with it.

    python examples/train_on_text.py path/to/model path/to/texts my-dictionary

Without arguments: the organism, on a file of its own sentences, in a folder that is thrown away.
"""

import random
import sys
import tempfile
from pathlib import Path

import silverstain
from silverstain.evaluation import evaluate_dictionary
from silverstain.models import LanguageModel, load_model
from silverstain.training import text_batches, train_dictionary
from silverstain.training.sizes import default_config


def sentences(path: Path, n: int) -> Path:
    """A file of sentences of the organism's world, a paragraph of ten each."""
    from silverstain.organism.siblings import siblings

    rng = random.Random(0)
    families = list(siblings()["general"].families().values())
    lines = [rng.choice(families).sample(rng).text for _ in range(n)]
    path.write_text("\n\n".join("\n".join(lines[at : at + 10]) for at in range(0, n, 10)))
    return path


def train(model: LanguageModel, text: Path, out: Path, **settings: object) -> float:
    """The share of held-out tokens on which the model with all MLPs replaced says what the model says."""
    batches = text_batches(model, text, context=64, batch=16, held_out_share=0.1)
    config = default_config(model, "clt", **settings)
    dictionary = train_dictionary(model, batches.training(), config, out)
    fidelity = evaluate_dictionary(model, dictionary, batches.held_out(5_000))
    beside = f"an affine map in place of each MLP: {fidelity.affine_nmse:.3f}"
    print(f"NMSE {fidelity.nmse:.3f} ({beside}), same next token {fidelity.top1_match:.2f}")
    return fidelity.top1_match


def main(arguments: list[str]) -> None:
    if arguments:
        model, text, out = arguments
        train(load_model(model), Path(text), Path(out))
        return
    with tempfile.TemporaryDirectory() as folder:
        model = silverstain.load("organism").model
        train(model, sentences(Path(folder) / "sentences.txt", 4000), Path(folder) / "clt", steps=40, n_features=128)
        traced = silverstain.load("organism", dictionary=Path(folder) / "clt")
        graph = traced.trace("the capital of the state containing dallas is")
        print(f"{graph.n_nodes} nodes, replacement score {graph.scores().replacement:.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
