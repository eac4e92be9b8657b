"""500 features ablated one by one: on the organism, and beside circuit-tracer on a golden model.

    python benchmarks/interventions.py --peer PEER_PYTHON --golden shared/golden/a_gpt2_plt

Writes benchmarks/results/interventions.json: CPU seconds of one thread, of ours the best of five and of the peer's the
best of three (what else runs on the machine only adds), with the logits of both compared. circuit-tracer's environment
is made as benchmarks/circuit_tracer/run.py says.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from time import process_time

import torch
from safetensors.torch import load_file

import silverstain
from silverstain.bases import Dictionary, open_dictionary
from silverstain.interventions import Edit, Readouts, SweepResult, regime_of, sweep
from silverstain.models import LanguageModel, load_model, record

RESULTS = Path("benchmarks/results/interventions.json")
THEIRS = Path(__file__).parent / "circuit_tracer" / "their_sweep.py"
PROMPT = "the capital of the state containing dallas is"
N, REPEATS = 500, 5


def ablations(places: list[list[int]]) -> list[list[Edit]]:
    return [[Edit(op="ablate", features=((layer, f),), positions=(position,))] for layer, position, f in places]


def timed(model: LanguageModel, dictionary: Dictionary, ids: list[int], places: list[list[int]], **named):
    seconds = []
    result: SweepResult | None = None
    for _ in range(REPEATS):
        start = process_time()
        result = sweep(model, dictionary, ids, ablations(places), **named)
        seconds.append(process_time() - start)
    return result, {"cpu_seconds": min(seconds), "n": len(places), "tokens": len(ids)}


def organism() -> dict:
    """Every active feature of one prompt, the strongest again until there are 500; all other features are read."""
    loaded = silverstain.load("organism")
    ids = loaded.model.tokenize(PROMPT)
    found = loaded.dictionary.encode(record(loaded.model, ids).mlp_inputs, n_real=loaded.model.n_real)
    active = torch.stack([found.layer, found.position, found.feature], 1).tolist()
    places = (active * (N // len(active) + 1))[:N]
    reads = Readouts(tokens=tuple(range(10)), features=tuple(map(tuple, active)))
    figures = {}
    for mode in ("added", "iterative", "direct"):
        regime = regime_of(mode, n_layers=loaded.model.n_layers)
        _, figures[mode] = timed(loaded.model, loaded.dictionary, ids, places, regime=regime, readouts=reads)
        figures[mode] |= {"active_features": len(active), "readouts": len(active) + 10}
    return figures


def beside_peer(golden: Path, peer: str, attention: str) -> dict:
    model, dictionary = load_model(golden / "model"), open_dictionary(golden / "transcoder")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "theirs"
        command = [peer, str(THEIRS), str(golden), attention, str(N), str(out)]
        tries = []
        for _ in range(3):
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
            tries.append(json.loads(out.with_suffix(".json").read_text()))
        theirs = load_file(out.with_suffix(".safetensors"))
        figures = min(tries, key=lambda figures: figures["cpu_seconds"])
    ids = load_file(golden / "graph.safetensors")["input_tokens"].tolist()
    regime = regime_of("iterative", n_layers=model.n_layers, attention=attention)
    places = theirs["chosen"].tolist()
    _, ours = timed(model, dictionary, ids, places, regime=regime)  # as theirs: the last logits alone
    reads = Readouts(tokens=tuple(range(model.d_vocab)))
    logits = sweep(model, dictionary, ids, ablations(places), regime=regime, readouts=reads).logits.after
    wanted = theirs["logits"] - theirs["logits"].mean(1, keepdim=True)
    return {
        "case": golden.name, "attention": attention, "ours": ours, "theirs": figures,
        "times_faster": figures["cpu_seconds"] / ours["cpu_seconds"],
        "largest_logit_difference": float((logits - wanted).abs().max()),
        "load": os.getloadavg()[0],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="Python of the environment with circuit-tracer")
    parser.add_argument("--golden", type=Path, help="a golden case, per-layer and of GPT-2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict = {"format": "silverstain.benchmark/1", "organism": organism()}
    if options.peer:
        found["peer"] = "circuit-tracer 0.5.0"
        found["beside"] = [beside_peer(options.golden, options.peer, attention) for attention in ("live", "frozen")]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
