"""What the families of an organism need: attention behind the first block, and the order of the words.

    python benchmarks/organism_needs.py composing --folder runs/organism
    python benchmarks/organism_needs.py general

Two questions, asked of each family without any dictionary:

- *gathered at once?* Every attention output from the second block on is taken from another sentence of the same family
  and the same number of tokens. A family that stays right has gathered all it needs with the first block's attention.
- *a bag of words?* A network of two hidden layers that reads the sum of the embeddings of all tokens so far is taught
  the determined tokens of the sentences that the organism was grown on, and asked those that were held out.

Shares are of sentences of which every determined token is right, with 95 % intervals (Wilson's). Writes
benchmarks/results/organism-needs.json.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from silverstain.organism.batches import PAD_ID, batch_of
from silverstain.organism.families import Family
from silverstain.organism.files import load_organism_model
from silverstain.organism.sentence import Sentence
from silverstain.organism.siblings import siblings
from silverstain.statistics import share_of
from silverstain.storage import write_json_whole

RESULTS = Path("benchmarks/results/organism-needs.json")
N_ASKED, N_TAUGHT, STEPS, ROWS = 400, 20_000, 2000, 512
HIDDEN = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sibling", choices=siblings())
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = load_organism_model(given.sibling, folder=given.folder).hf
    rows = {}
    for name, family in siblings()[given.sibling].families().items():
        rng = random.Random(f"needs {given.seed} {name}")
        asked = {split: drawn(family, rng, N_ASKED, held_out=split == "held out") for split in ("trained", "held out")}
        rows[name] = {"attention from the second block on resampled": resampled(model, asked["trained"], name)}
        rows[name]["bag of tokens"] = bag_of_tokens(family, asked, rng, given.seed)
        print(name, json.dumps(rows[name]), flush=True)
        known = json.loads(RESULTS.read_text(encoding="utf-8"))["organisms"] if RESULTS.exists() else {}
        found = {**known, given.sibling: rows}
        write_json_whole(RESULTS, {"format": "silverstain.organism-needs/1", "sentences": N_ASKED, "organisms": found})


def drawn(family: Family, rng: random.Random, n: int, *, held_out: bool) -> list[Sentence]:
    """Sentences in which something is determined."""
    found: list[Sentence] = []
    while len(found) < n:
        sentence = family.sample(rng, held_out=held_out)
        if any(sentence.determined):
            found.append(sentence)
    return found


# attention


@torch.no_grad()
def resampled(model, sentences: Sequence[Sentence], name: str) -> dict:
    """Sentences right as they are, and with every later attention output of another one of their length."""
    by_length: dict[int, list[Sentence]] = {}
    for sentence in sentences:
        by_length.setdefault(len(batch_of([sentence], [name]).token_ids[0]), []).append(sentence)
    groups = [batch_of(group, [name]) for group in by_length.values() if len(group) > 1]
    plain, without = [], []
    for batch in groups:
        donor = torch.roll(torch.arange(len(batch.token_ids)), 1)
        plain += right(model(input_ids=batch.token_ids, use_cache=False).logits, batch).tolist()
        with exchanged_attention(model, donor, batch.token_ids):
            without += right(model(input_ids=batch.token_ids, use_cache=False).logits, batch).tolist()
    return {"as it is": share(plain), "resampled": share(without)}


class exchanged_attention:
    """While it is entered, each attention module but the first gives what it gave for the donors in a clean run."""

    def __init__(self, model, donor: Tensor, token_ids: Tensor) -> None:
        self.modules = [layer.self_attn for layer in model.model.layers[1:]]
        self.model, self.donor, self.token_ids = model, donor, token_ids
        self.hooks: list = []

    def __enter__(self) -> None:
        seen: list[Tensor] = []
        keep = [m.register_forward_hook(lambda _m, _a, out: seen.append(out[0])) for m in self.modules]
        self.model(input_ids=self.token_ids, use_cache=False)
        for hook in keep:
            hook.remove()
        for module, output in zip(self.modules, seen, strict=True):
            other = output[self.donor]
            self.hooks.append(module.register_forward_hook(lambda _m, _a, out, other=other: (other, *out[1:])))

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()


def right(logits: Tensor, batch) -> Tensor:
    """Which sentences have every determined token as the first choice."""
    same = logits.argmax(-1)[:, :-1] == batch.token_ids[:, 1:]
    return (same | ~batch.determined[:, 1:]).all(1)


# the bag of tokens


class Bag(nn.Module):
    """Sum of embeddings → two hidden layers → the next token."""

    def __init__(self, n_tokens: int) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(n_tokens, HIDDEN, mode="sum", padding_idx=PAD_ID)
        self.layers = nn.Sequential(
            nn.LayerNorm(HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(),
            nn.Linear(HIDDEN, n_tokens),
        )  # fmt: skip

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layers(self.embedding(tokens))


def bag_of_tokens(family: Family, asked: dict[str, list[Sentence]], rng: random.Random, seed: int) -> dict:
    """Shares right of such a network, on what it was taught a kind of and on what was held out."""
    torch.manual_seed(seed)
    n_tokens = 2048
    tokens, answers, _ = questions(drawn(family, rng, N_TAUGHT, held_out=False), family.name)
    net = Bag(n_tokens)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(len(tokens), (ROWS,))
        loss = nn.functional.cross_entropy(net(tokens[chosen]), answers[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    found = {}
    for split, sentences in asked.items():
        some, wanted, owner = questions(sentences, family.name)
        with torch.no_grad():
            same = net(some).argmax(-1) == wanted
        found[split] = share([bool(same[owner == i].all()) for i in range(len(sentences))])
    return found


def questions(sentences: Sequence[Sentence], name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Of each determined token: all tokens before it (padded), itself, and the number of its sentence."""
    batch = batch_of(sentences, [name])
    owner, position = batch.determined.nonzero(as_tuple=True)
    before = torch.arange(batch.token_ids.shape[1])[None, :] < position[:, None]
    return batch.token_ids[owner] * before, batch.token_ids[owner, position], owner


def share(right: Sequence[bool]) -> dict:
    found = share_of(sum(right), len(right))
    return {"share": found.value, "low": found.low, "high": found.high, "n": found.n}


if __name__ == "__main__":
    main()
