"""What carries a couplet's planned end word behind its owner: what attention writes there, or what MLPs do.

    python benchmarks/plan_parts.py

At the owner, which settles the end word, the outputs of some of the composing organism's attention or MLPs are another
line one's, whose couplet goes on with the same owner; then six words are written on. Counted is how often the other
line's end word is among them. Two minutes of one core. Writes benchmarks/results/plan-parts.json.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

import silverstain
from silverstain.statistics import share_of
from silverstain.storage import write_json_whole
from silverstain.studies.organism_variables import subject_of
from silverstain.studies.poems import SITES, plan_at
from silverstain.studies.protocol import Pair, Subject

RESULTS = Path(__file__).parent / "results" / "plan-parts.json"
N_PAIRS, N_WORDS = 60, 6
PARTS = ("self_attn", "mlp")


def main() -> None:
    torch.set_num_threads(1)
    subject = subject_of(silverstain.load("organism/composing"))
    pairs = plan_at(subject, SITES[-1], len(SITES) - 1).draw(2 * N_PAIRS, 5)[:N_PAIRS]
    layers = range(subject.model.n_layers)
    sets = {f"all {part}": [(part, layer) for layer in layers] for part in PARTS}
    sets |= {f"{part} {layer}": [(part, layer)] for part in PARTS for layer in layers}
    found = {}
    for name, chosen in sets.items():
        share = share_of(sum(follows(subject, pair, chosen) for pair in pairs), len(pairs))
        found[name] = [share.value, share.low, share.high]
        print(f"{name:14} {share}", flush=True)
    write_json_whole(RESULTS, {"format": "silverstain.plan-parts/1", "pairs": len(pairs), "end word follows": found})


@torch.no_grad()
def follows(subject: Subject, pair: Pair, chosen: Sequence[tuple[str, int]]) -> bool:
    """Whether the donor's end word is said where some parts write at the owner what they write in the donor."""
    base, donor = list(subject.ids(pair.base.text)), subject.ids(pair.donor.text)
    at = len(base) - 1
    with ExitStack() as stack:
        theirs = {one: stack.enter_context(output_of(subject, one)) for one in chosen}
        subject.model.hf(input_ids=torch.tensor([donor]), use_cache=False)
    ends = {subject.first_token(word) for word in pair.counterfactual}
    with ExitStack() as stack:
        for one in chosen:
            stack.enter_context(written_at(subject, one, at, theirs[one][0][0, len(donor) - 1]))
        for _ in range(N_WORDS):
            logits = subject.model.hf(input_ids=torch.tensor([base]), use_cache=False).logits
            base.append(int(logits[0, -1].argmax()))
    return not ends.isdisjoint(base[at + 1 :])


def module_of(subject: Subject, one: tuple[str, int]) -> torch.nn.Module:
    part, layer = one
    return subject.model.hf.get_submodule(f"model.layers.{layer}.{part}")


@contextmanager
def output_of(subject: Subject, one: tuple[str, int]) -> Iterator[list[torch.Tensor]]:
    """What a part writes, [prompt, pos, d_model], in each run inside."""
    seen: list[torch.Tensor] = []
    handle = module_of(subject, one).register_forward_hook(
        lambda _, __, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def written_at(subject: Subject, one: tuple[str, int], at: int, instead: torch.Tensor) -> Iterator[None]:
    """A part writes something else at one position."""

    def change(_, __, output):
        first = (output[0] if isinstance(output, tuple) else output).clone()
        first[:, at] = instead
        return (first, *output[1:]) if isinstance(output, tuple) else first

    handle = module_of(subject, one).register_forward_hook(change)
    try:
        yield
    finally:
        handle.remove()


if __name__ == "__main__":
    main()
