"""The causal map, measured: each variable's prompts recorded once, read by probes and exchanged site by site."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.models import LanguageModel
from silverstain.statistics import Share, share_of

from .causal_map import CausalMap, Site, VariableMap
from .interchange import exchanged, means_elsewhere, next_logits_from, says_one_of, streams, token_mask
from .probing import bags_of_tokens, balanced_accuracy, best_look_up, folds_of, read_linearly
from .sentence import join_words
from .variables import Case, Pair, VariableSpec, variables

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROBED = 4
"""Pairs whose prompts are probed, for each pair that is exchanged."""
PIECES = ("first piece", "last piece")
PLACES = ("tens", "ones")


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What probes are tested on: the value, the combination (`groups`) and the fold of each case, as numbers."""

    classes: Int[Tensor, " case"]
    groups: Int[Tensor, " case"]
    folds: Int[Tensor, " case"]
    n_classes: int
    seed: int

    def read(self, x: Float[Tensor, "case d"]) -> Share:
        given = read_linearly(x.double(), self.classes, self.folds, self.n_classes)
        return balanced_accuracy(given == self.classes, self.classes, self.groups, self.n_classes, self.seed)

    def best_look_up(self, tokens: Int[Tensor, " case"]) -> float:
        """Of one token; a combination counts once, however often it was drawn."""
        distinct = torch.stack((tokens, self.classes, self.groups), 1).unique(dim=0)
        return best_look_up(distinct[:, 0], distinct[:, 1], self.n_classes)


class Words:
    """Token ids of single words, asked of the model's own tokenizer once."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.tokenizer = tokenizer
        self._known: dict[str, tuple[int, ...]] = {}

    def ids(self, word: str) -> tuple[int, ...]:
        """UsageError where the tokenizer does not know the word."""
        if word not in self._known:
            ids = tuple(self.tokenizer.encode(word, add_special_tokens=False))
            if not ids or self.tokenizer.unk_token_id in ids:
                raise UsageError(f"this model's tokenizer does not know {word!r} of the small world; give an organism")
            self._known[word] = ids
        return self._known[word]

    def prompt(self, case: Case) -> list[int]:
        ids = [i for word in case.words for i in self.ids(word)]
        start = self.tokenizer.bos_token_id
        return [start, *ids] if isinstance(start, int) else ids

    def answers(self, words: Sequence[frozenset[str]], n_tokens: int) -> Bool[Tensor, "case vocab"]:
        return token_mask([[self.ids(word)[0] for word in group] for group in words], n_tokens)

    def compared(self, pairs: Sequence[Pair], n_tokens: int) -> Bool[Tensor, "pair vocab"]:
        everything = torch.ones(n_tokens, dtype=torch.bool)
        rows = [everything if pair.among is None else self.answers([pair.among], n_tokens)[0] for pair in pairs]
        return torch.stack(rows)

    def roles(self, case: Case, names: Sequence[str]) -> tuple[str, ...]:
        """A name for each token: the word's, with `first piece` or `tens` where it has several."""
        found: list[str] = []
        for word, name in zip(case.words, names, strict=True):
            n_pieces = len(self.ids(word))
            ends = PLACES if word.isdigit() else PIECES
            found += [name] if n_pieces == 1 else [f"{name} {end}" for end in ends]
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Pairs ready to be exchanged: the first `n` cases are bases, their donors start at `donors`.

    Attributes:
        stream: The stream of all cases at every layer.
        groups: The combination of each case, as a number.
        counterfactual, among: The tokens that count as the counterfactual, and those it is compared with.
        unexchanged: What the bases say without any exchange.
    """

    n: int
    donors: int
    token_ids: Int[Tensor, "case pos"]
    stream: Float[Tensor, "layer case pos d"]
    classes: Int[Tensor, " case"]
    groups: Int[Tensor, " case"]
    counterfactual: Bool[Tensor, "pair vocab"]
    among: Bool[Tensor, "pair vocab"]
    unexchanged: Share

    def at(self, model: "PreTrainedModel", layer: int, position: int) -> tuple[Share, Share]:
        """How often the bases give the counterfactual with the donors' stream here, and with the donors' mean."""
        bases, donors = torch.arange(self.n), torch.arange(self.donors, self.donors + self.n)
        upto = self.token_ids[:, : position + 1]
        if torch.equal(upto[bases], upto[donors]):
            return self.unexchanged, self.unexchanged  # up to here both are one prompt, so their streams are one
        base, x = self.stream[layer, : self.n], self.stream[layer, :, position]
        base_mean, donor_mean = (means_elsewhere(x, self.classes, self.groups, rows) for rows in (bases, donors))
        ways = (x[donors], x[bases] - base_mean + donor_mean)
        streams_of_both = torch.cat([exchanged(base, position, values) for values in ways])
        logits = next_logits_from(model, streams_of_both, layer)
        whole, mean = (share_that(says_one_of(half, self.counterfactual, self.among)) for half in logits.split(self.n))
        return whole, mean


def share_that(hits: Bool[Tensor, " case"]) -> Share:
    return share_of(int(hits.sum()), len(hits))


def causal_map(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    *,
    n: int = 200,
    seed: int = 0,
    only: Sequence[VariableSpec] | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> CausalMap:
    """Share where `model` computes each hidden variable of the small world.

    Args:
        model: A Hugging Face decoder in float32 that knows the small world's words.
        n: Pairs exchanged a variable; probes read the prompts of four times as many.
        only: The variables to measure; all where None.
        on_progress: Called before each variable with how many are done, of how many, and its name.

    Raises:
        UsageError: The tokenizer does not know a word of the small world.
    """
    specs = variables() if only is None else only
    found = []
    for index, spec in enumerate(specs):
        if on_progress:
            on_progress(index, len(specs), spec.name)
        found.append(map_of(spec, model, tokenizer, n=n, seed=seed))
    model_hash = LanguageModel(model, tokenizer, name="organism").hash
    return CausalMap(model_hash=model_hash, n=n, seed=seed, variables=tuple(found))


def map_of(
    spec: VariableSpec, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", *, n: int, seed: int
) -> VariableMap:
    """Share one variable: probes on the prompts of 4n pairs, exchanges between the first n."""
    words, pairs = Words(tokenizer), spec.pairs(PROBED * n, seed)
    cases = [pair.base for pair in pairs] + [pair.donor for pair in pairs]
    token_ids = torch.tensor([words.prompt(case) for case in cases])  # one length: all have the same roles
    roles = words.roles(cases[0], spec.roles)
    first = token_ids.shape[1] - len(roles)  # <bos> holds nothing, so it has no role
    stream, logits = streams(model, token_ids)
    n_tokens, n_pairs = logits.shape[1], len(pairs)
    right = words.answers([case.answers for case in cases], n_tokens)
    among = words.compared(pairs, n_tokens)
    is_right = says_one_of(logits, right, torch.cat((among, among)))
    counterfactual = words.answers([pair.counterfactual for pair in pairs[:n]], n_tokens)
    probed = _probed(cases, seed)
    exchange = Exchange(
        n=n, donors=n_pairs, token_ids=token_ids, stream=stream, classes=probed.classes, groups=probed.groups,
        counterfactual=counterfactual, among=among[:n],
        unexchanged=share_that(says_one_of(logits[:n], counterfactual, among[:n])),
    )  # fmt: skip
    sites = []
    for layer in range(len(stream)):
        for position, role in enumerate(roles, first):
            probe = probed.read(stream[layer, :, position])
            whole, mean = exchange.at(model, layer, position)
            sites.append(Site(layer=layer, role=role, probe=probe, interchange=whole, mean_interchange=mean))
    return VariableMap(
        family=spec.family, variable=spec.variable, form=spec.form, n_values=probed.n_classes, roles=roles,
        base=join_words(pairs[0].base.words), donor=join_words(pairs[0].donor.words),
        counterfactual=" | ".join(sorted(pairs[0].counterfactual)),
        base_right=share_that(is_right[:n]),
        donor_right=share_that(is_right[n_pairs : n_pairs + n]),
        unexchanged=exchange.unexchanged, bag_of_tokens=probed.read(bags_of_tokens(token_ids)),
        best_look_up={
            role: probed.best_look_up(token_ids[:, first + index]) for index, role in enumerate(roles)
        },
        sites=tuple(sites),
    )  # fmt: skip


def _probed(cases: Sequence[Case], seed: int) -> Probed:
    values, combinations = [case.value for case in cases], [case.combination for case in cases]
    return Probed(
        classes=_numbered(values), groups=_numbered(combinations), folds=folds_of(values, combinations, seed),
        n_classes=len(set(values)), seed=seed,
    )  # fmt: skip


def _numbered(names: Sequence[str]) -> Int[Tensor, " case"]:
    index = {name: number for number, name in enumerate(sorted(set(names)))}
    return torch.tensor([index[name] for name in names])
