"""The causal map of an organism, measured a second time by other means.

    python benchmarks/organism_audit.py general
    python benchmarks/organism_audit.py composing --folder runs/organism

Nothing here comes from the map's own code: the model is a plain one of transformers, streams are taken and changed by
hooks written here, the bag of tokens and the stream are read by scikit-learn's logistic regression, and what is
exchanged is the whole difference of two values' means, at single tokens and at pairs of the three best. Only the pairs
of prompts are the world's. For every variable it says whether it is computed, gathered, the output or undecided, by
95 % intervals (Wilson's), beside what the map says. Writes benchmarks/results/organism-audit.json.
"""

import argparse
import itertools
import json
import math
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from transformers import AutoModelForCausalLM, AutoTokenizer

from silverstain.organism.siblings import siblings

RESULTS = Path(__file__).parent / "results" / "organism-audit.json"
PACKAGED = Path(__file__).parent.parent / "src" / "silverstain" / "organism" / "data"
NEAR, LEAST = 0.15, 0.5
"""As in the map: the earliest stage nearly as good as the best counts, and half of the answers must move."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sibling")
    parser.add_argument("--folder", type=Path, default=PACKAGED)
    parser.add_argument("--pairs", type=int, default=400, help="drawn a variable; those whose base is kept apart count")
    parser.add_argument("--only", nargs="*", help="variables whose name holds one of these")
    given = parser.parse_args()
    torch.set_num_threads(1)
    folder = given.folder / given.sibling
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    mapped = verdicts_of_the_map(folder / "causal-map.json")
    found = []
    for spec in siblings()[given.sibling].variables():
        if given.only and not any(part in spec.name for part in given.only):
            continue
        row = audited(spec, model, tokenizer, given.pairs)
        row["map"] = mapped.get(spec.name)
        row["agrees"] = None if row["map"] is None else row["map"]["kind"] == row["verdict"]
        found.append(row)
        print(
            f"{spec.name:58} {row['verdict']:10} {row['stage']:6} map: {row['map'] and row['map']['kind']}", flush=True
        )
    known = [row["agrees"] for row in found if row["agrees"] is not None]
    print(f"{sum(known)} of {len(known)} verdicts are those of the map")
    RESULTS.write_text(json.dumps({"sibling": given.sibling, "variables": found}, indent=1) + "\n", encoding="utf-8")


def verdicts_of_the_map(path: Path) -> dict:
    """What the map's file leads to, by the variable's name; nothing where there is no file."""
    if not path.exists():
        return {}
    from silverstain.organism.causal_map import CausalMap

    return {
        one.name: {"kind": one.verdict.kind, "stage": one.verdict.stage, "moved": one.best.part.value}
        for one in CausalMap.load(path).variables
    }


class Stream:
    """The stream of a Llama at every stage, and runs in which it is changed: 0 the embedding, 1 behind the first
    attention, then behind each block."""

    def __init__(self, model) -> None:
        self.model = model
        layers = model.model.layers
        self.places = [(layers[0], "pre"), (layers[0].post_attention_layernorm, "pre")]
        self.places += [(layer, "post") for layer in layers]
        self.names = ["embedding", "m0", *(f"r{i + 1}" for i in range(len(layers)))]

    @torch.no_grad()
    def taken(self, ids):
        """[stage, prompt, position, width], and the logits of the next token."""
        kept = [None] * len(self.places)
        hooks = []
        for index, (module, when) in enumerate(self.places):
            if when == "pre":
                hooks.append(module.register_forward_pre_hook(lambda m, x, i=index: kept.__setitem__(i, x[0].clone())))
            else:
                hooks.append(
                    module.register_forward_hook(lambda m, x, y, i=index: kept.__setitem__(i, _first(y).clone()))
                )
        logits = self.model(input_ids=ids).logits[:, -1]
        for hook in hooks:
            hook.remove()
        return torch.stack(kept), logits

    @torch.no_grad()
    def with_added(self, ids, stage, positions, added):
        """Logits of the next token when `added` [prompt, position, width] is added at a stage. In place: what the block
        adds later goes onto the same tensor."""
        module, when = self.places[stage]

        def change(tensor):
            for place, position in enumerate(positions):
                tensor[:, position] += added[:, place]

        if when == "pre":
            hook = module.register_forward_pre_hook(lambda m, x: change(x[0]))
        else:
            hook = module.register_forward_hook(lambda m, x, y: change(_first(y)))
        logits = self.model(input_ids=ids).logits[:, -1]
        hook.remove()
        return logits


def _first(output):
    return output[0] if isinstance(output, tuple) else output


def audited(spec, model, tokenizer, n_pairs: int) -> dict:
    """One variable, from its pairs to a verdict."""
    pairs = spec.pairs(n_pairs, seed=101)
    cases = [pair.base for pair in pairs] + [pair.donor for pair in pairs]
    ids = torch.tensor([_ids(tokenizer, case.words) for case in cases])
    values = np.array([case.value for case in cases])
    groups = np.array([case.combination for case in cases])
    apart = _kept_apart(groups)
    stream = Stream(model)
    taken, _ = stream.taken(ids)
    tested = [i for i in range(len(pairs)) if apart[i]][:150]
    chosen = [i for i in range(len(pairs)) if not apart[i]][:100]
    wanted = [{_ids(tokenizer, (word,), bos=False)[0] for word in pair.counterfactual} for pair in pairs]
    among = [
        None if pair.among is None else sorted({_ids(tokenizer, (w,), bos=False)[0] for w in pair.among})
        for pair in pairs
    ]
    says = lambda said, index: [_top(row, among[i]) in wanted[i] for row, i in zip(said, index, strict=True)]  # noqa: E731
    bag = read_by(_bags(ids), values, apart)
    rows = []
    for stage, name in enumerate(stream.names):
        means = _means(taken[stage][~torch.tensor(apart)], values[~apart])
        moved = lambda index, places, stage=stage, means=means: says(  # noqa: E731
            stream.with_added(ids[index], stage, places, _differences(means, values, index, len(pairs), places)), index
        )
        alone = {p: np.mean(moved(chosen, [p])) for p in range(1, ids.shape[1])}
        best = sorted(alone, key=lambda p: -alone[p])[:3]
        sets = [[best[0]]] + [sorted(pair) for pair in itertools.combinations(best, 2)]
        shares = [np.mean(moved(chosen, places)) for places in sets]
        places = sets[0] if shares[0] >= max(shares) - 0.03 else sets[int(np.argmax(shares))]
        added = _differences(means, values, tested, len(pairs), places)
        pushed = torch.randn(added.shape, generator=torch.Generator().manual_seed(0))
        pushed *= added.norm(dim=-1, keepdim=True) / pushed.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        rows.append({
            "stage": name, "positions": places, "moved": wilson(moved(tested, places)),
            "random": wilson(says(stream.with_added(ids[tested], stage, places, pushed), tested)),
            "read": read_by(taken[stage][:, places].flatten(1).numpy(), values, apart),
        })  # fmt: skip
    verdict, stage = judged(rows, bag, is_answer=_is_answer(cases))
    return {"variable": spec.name, "n": len(tested), "bag": bag, "verdict": verdict, "stage": stage, "stages": rows}


def judged(rows: list[dict], bag: list[float], *, is_answer: bool) -> tuple[str, str]:
    """The verdict and its stage: the definitions of docs/organism.md, written down again."""
    best = max(row["moved"][0] for row in rows)
    first = next(row for row in rows if row["moved"][0] >= best - NEAR)
    gathered, last = max(rows[:2], key=lambda row: row["moved"][0]), rows[-1]  # the embedding or m0: before any MLP
    if first["moved"][0] < LEAST:
        return "undecided", first["stage"]
    if gathered["moved"][0] >= LEAST and gathered["moved"][2] >= first["moved"][1]:
        return "gathered", gathered["stage"]
    if is_answer:
        return "output", first["stage"]
    above = [
        row for row in rows[2:]
        if row["moved"][0] >= first["moved"][0] - NEAR and row["moved"][1] > max(gathered["moved"][2], row["random"][2])
    ]  # fmt: skip
    if not above:
        return "undecided", first["stage"]
    if above[0] is last:
        return "output", last["stage"]
    read = [row for row in above if row["read"][1] > bag[2]]
    return ("computed", read[0]["stage"]) if read else ("undecided", above[0]["stage"])


def _ids(tokenizer, words, *, bos: bool = True) -> list[int]:
    ids = [i for word in words for i in tokenizer.encode(word, add_special_tokens=False)]
    return [tokenizer.bos_token_id, *ids] if bos else ids


def _top(logits, among) -> int:
    return int(logits.argmax()) if among is None else among[int(logits[among].argmax())]


def _kept_apart(groups: np.ndarray) -> np.ndarray:
    """Two of five combinations, by a hash of their names."""
    import hashlib

    names = sorted(set(groups), key=lambda name: hashlib.sha256(f"audit {name}".encode()).hexdigest())
    out = set(names[: max(1, round(0.4 * len(names)))])
    return np.array([group in out for group in groups])


def _means(x, values: np.ndarray) -> dict:
    return {value: x[torch.tensor(values == value)].mean(0) for value in set(values)}


def _differences(means: dict, values: np.ndarray, index: list[int], n: int, places: list[int]):
    zero = torch.zeros_like(next(iter(means.values())))
    of = torch.stack([means.get(values[i + n], zero) - means.get(values[i], zero) for i in index])
    return of[:, places]


def _is_answer(cases) -> bool:
    pairs = {(case.value, case.answers) for case in cases}
    return len(pairs) == len({value for value, _ in pairs}) == len({answers for _, answers in pairs})


def _bags(ids) -> np.ndarray:
    _, index = ids.unique(return_inverse=True)
    bags = np.zeros((len(ids), int(index.max()) + 1))
    np.add.at(bags, (np.arange(len(ids))[:, None], index.numpy()), 1)
    return bags


def read_by(x: np.ndarray, values: np.ndarray, apart: np.ndarray) -> list[float]:
    """Accuracy of logistic regression on combinations it was not fitted on, the mean over values, with an interval."""
    scaler = StandardScaler().fit(x[~apart])
    reader = LogisticRegression(C=0.1, max_iter=300).fit(scaler.transform(x[~apart]), values[~apart])
    right = reader.predict(scaler.transform(x[apart])) == values[apart]
    by_value = [right[values[apart] == value].mean() for value in sorted(set(values[apart]))]
    low, high = wilson(list(right))[1:]
    mean = float(np.mean(by_value))
    return [mean, min(low, mean), max(high, mean)]


def wilson(hits: list[bool], z: float = 1.96) -> list[float]:
    """Share, low and high end."""
    n, p = len(hits), float(np.mean(hits))
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return [p, (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)]


if __name__ == "__main__":
    main()
