"""The causal map, measured: each variable's prompts recorded once, read by probes and exchanged stage by stage.

Some combinations (the towns whose state is read, the pairs of digits that carry) are kept apart. The part that carries
a variable is fitted on the others; places and sizes are chosen by pairs of the others; what is reported are pairs whose
base is of a combination that was kept apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.models import LanguageModel
from silverstain.statistics import Share, share_of

from .causal_map import CausalMap, PlacesOfStage, Site, VariableMap
from .interchange import exchanged, next_logits_from, says_one_of, stages, streams, token_mask
from .parts import Part, fitted_part, random_differences
from .probing import bags_of_tokens, balanced_accuracy, best_look_up, folds_of, read_linearly
from .sentence import join_words
from .variables import Case, Pair, VariableSpec, variables

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DRAWN = 4
"""Pairs that are drawn and probed, for each that is exchanged: the base is one kept apart in two of five."""
N_PARTS, TESTED = 5, 0.4
"""Combinations are dealt into parts, fewer where there are fewer of them; this share of the parts is kept apart."""
MOST_PLACES, PROMISING = 3, 6
"""A set has at most three places, of the six that move most by themselves."""
MORE = 0.03
"""Share of pairs by which another place, or a larger part, must be better."""
DIGITS = ("hundreds", "tens", "ones")
"""Names of the digits of a number, the last of them for one that has fewer."""


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
            n = len(self.ids(word))
            inner = (f"piece {number}" for number in range(2, n))
            ends = DIGITS[-n:] if word.isdigit() else ("first piece", *inner, "last piece")
            found += [name] if n == 1 else [f"{name} {end}" for end in ends]
        assert len(found) == sum(len(self.ids(word)) for word in case.words), "every token has a name"
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Pairs ready to be exchanged: case `i` is the base of pair `i`, its donor is case `i + n_pairs`.

    Attributes:
        stream: The stream of all cases at every stage.
        values: The value of each case, as a number.
        fitted: The cases that parts are fitted on.
        chosen, tested: Pairs on which places and sizes are chosen, and those that are reported.
        counterfactual, among: The tokens that count as the counterfactual, and those it is compared with.
    """

    model: "PreTrainedModel"
    n_pairs: int
    token_ids: Int[Tensor, "case pos"]
    stream: Float[Tensor, "stage case pos d"]
    values: Int[Tensor, " case"]
    n_values: int
    fitted: Bool[Tensor, " case"]
    chosen: Int[Tensor, " chosen"]
    tested: Int[Tensor, " tested"]
    counterfactual: Bool[Tensor, "pair vocab"]
    among: Bool[Tensor, "pair vocab"]

    def at(self, stage: int, positions: Sequence[int]) -> Float[Tensor, "case d"]:
        """The stream of some places together."""
        return self.stream[stage][:, list(positions)].flatten(1)

    def part(self, stage: int, positions: Sequence[int]) -> Part:
        """The variable's part of some places, of the cases that are fitted on."""
        return fitted_part(self.at(stage, positions)[self.fitted], self.values[self.fitted], self.n_values)

    def differences(self, pairs: Int[Tensor, " pair"], part: Part, size: int) -> Float[Tensor, "pair d"]:
        """What gives the bases the donors' value along so many directions of a part."""
        return part.difference(self.values[pairs], self.values[pairs + self.n_pairs], size)

    def moved(
        self, pairs: Int[Tensor, " pair"], stage: int, positions: Sequence[int], differences: Float[Tensor, "pair d"]
    ) -> Bool[Tensor, " pair"]:
        """Which bases give the counterfactual with this added at these places."""
        values = self.at(stage, positions)[pairs] + differences
        d_model = self.stream.shape[-1]
        stream = exchanged(self.stream[stage, pairs], positions, values.view(len(pairs), len(positions), d_model))
        logits = next_logits_from(self.model, stream, stage)
        return says_one_of(logits, self.counterfactual[pairs], self.among[pairs])

    def share_of_whole(self, stage: int, positions: Sequence[int]) -> Share:
        """Of the pairs that are reported, with the donors' whole stream at these places."""
        x = self.at(stage, positions)
        differences = x[self.tested + self.n_pairs] - x[self.tested]
        return share_that(self.moved(self.tested, stage, positions, differences))

    def differ(self, positions: Sequence[int]) -> bool:
        """Whether bases and donors can differ at these places: something before them or there does."""
        upto = self.token_ids[:, : max(positions) + 1]
        return not torch.equal(upto[: self.n_pairs], upto[self.n_pairs :])


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
        n: Pairs exchanged a variable, at most; probes read the prompts of four times as many.
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
    """One variable: probes on the prompts of DRAWN · n pairs, parts fitted on some of them and tried on others."""
    words, pairs = Words(tokenizer), spec.pairs(DRAWN * n, seed)
    cases = [pair.base for pair in pairs] + [pair.donor for pair in pairs]
    token_ids = torch.tensor([words.prompt(case) for case in cases])  # one length: all have the same roles
    roles = words.roles(cases[0], spec.roles)
    first = token_ids.shape[1] - len(roles)  # <bos> holds nothing, so it has no role
    stream, logits = streams(model, token_ids)
    n_tokens, n_pairs = logits.shape[1], len(pairs)
    right = words.answers([case.answers for case in cases], n_tokens)
    among = words.compared(pairs, n_tokens)
    counterfactual = words.answers([pair.counterfactual for pair in pairs], n_tokens)
    is_right = says_one_of(logits, right, torch.cat((among, among)))
    probed = _probed(cases, seed)
    fitted, chosen, tested = _split(cases, n, seed)
    exchange = Exchange(
        model=model, n_pairs=n_pairs, token_ids=token_ids, stream=stream, values=probed.classes,
        n_values=probed.n_classes, fitted=fitted, chosen=chosen, tested=tested, counterfactual=counterfactual,
        among=among,
    )  # fmt: skip
    names, positions = stages(len(stream) - 2), range(first, first + len(roles))
    sites, places = [], []
    for stage, name in enumerate(names):
        scanned = [_scanned(exchange, stage, position) for position in positions]
        for position, role, (_, part) in zip(positions, roles, scanned, strict=True):
            probe = probed.read(stream[stage, :, position])
            whole = exchange.share_of_whole(stage, [position])
            sites.append(Site(stage=name, role=role, probe=probe, interchange=whole, part=part))
        best = _best_places(exchange, stage, dict(zip(positions, [found for found, _ in scanned], strict=True)))
        places.append(_reported(exchange, probed, stage, name, best, [roles[p - first] for p in best], seed))
    return VariableMap(
        family=spec.family, variable=spec.variable, form=spec.form, n_values=probed.n_classes,
        is_answer=_is_answer(cases), donor_differs=all(not pair.donor.answers & pair.counterfactual for pair in pairs),
        n_pairs=len(tested), roles=roles,
        base=join_words(pairs[0].base.words), donor=join_words(pairs[0].donor.words),
        counterfactual=" | ".join(sorted(pairs[0].counterfactual)),
        base_right=share_that(is_right[:n_pairs]), donor_right=share_that(is_right[n_pairs:]),
        unexchanged=share_that(says_one_of(logits[:n_pairs], counterfactual, among)),
        bag_of_tokens=probed.read(bags_of_tokens(token_ids)),
        best_look_up={
            role: probed.best_look_up(token_ids[:, first + index]) for index, role in enumerate(roles)
        },
        sites=tuple(sites), places=tuple(places),
    )  # fmt: skip


def _is_answer(cases: Sequence[Case]) -> bool:
    """Whether a value is known from the answer and the answer from the value."""
    pairs = {(case.value, case.answers) for case in cases}
    return len(pairs) == len({value for value, _ in pairs}) == len({answers for _, answers in pairs})


def _moved_by_all(exchange: Exchange, pairs: Int[Tensor, " pair"], stage: int, positions: Sequence[int]) -> Tensor:
    """Which of some pairs the largest part of some places moves: none where bases and donors are still one prompt."""
    if not exchange.differ(positions):
        return torch.zeros(len(pairs), dtype=torch.bool)
    part = exchange.part(stage, positions)
    differences = exchange.differences(pairs, part, part.sizes[-1])
    return exchange.moved(pairs, stage, positions, differences)


def _scanned(exchange: Exchange, stage: int, position: int) -> tuple[float, Share]:
    """The share that the part of one place moves, of the pairs one chooses by and of those reported."""
    n_chosen = len(exchange.chosen)
    moved = _moved_by_all(exchange, torch.cat((exchange.chosen, exchange.tested)), stage, [position])
    return float(moved[:n_chosen].double().mean()), share_that(moved[n_chosen:])


def _best_places(exchange: Exchange, stage: int, alone: Mapping[int, float]) -> list[int]:
    """The place that moves most, with up to two of the most promising others that each add MORE to it; in the order of
    the prompt."""
    promising = sorted(alone, key=lambda position: -alone[position])[:PROMISING]
    best, share = promising[:1], alone[promising[0]]
    while len(best) < MOST_PLACES:
        tried = {
            position: float(_moved_by_all(exchange, exchange.chosen, stage, sorted([*best, position])).double().mean())
            for position in promising
            if position not in best
        }
        position = max(tried, key=lambda position: tried[position], default=None)
        if position is None or tried[position] < share + MORE:
            break
        best, share = [*best, position], tried[position]
    return sorted(best)


def _reported(
    exchange: Exchange, probed: "Probed", stage: int, name: str, positions: list[int], roles: list[str], seed: int
) -> PlacesOfStage:
    """The smallest part that moves nearly as many of the pairs one chooses by, on the pairs that are reported."""
    part, chosen, tested = exchange.part(stage, positions), exchange.chosen, exchange.tested
    shares = {}
    for size in part.sizes:
        differences = exchange.differences(chosen, part, size)
        shares[size] = float(exchange.moved(chosen, stage, positions, differences).double().mean())
    size = next(size for size, share in shares.items() if share >= max(shares.values()) - MORE)
    differences = exchange.differences(tested, part, size)
    drawn = random_differences(differences, exchange.at(stage, positions)[exchange.fitted], seed)
    return PlacesOfStage(
        stage=name, roles=tuple(roles), size=size,
        part=share_that(exchange.moved(tested, stage, positions, differences)),
        random=share_that(exchange.moved(tested, stage, positions, drawn)),
        interchange=exchange.share_of_whole(stage, positions),
        probe=probed.read(exchange.at(stage, positions)),
    )  # fmt: skip


def _split(
    cases: Sequence[Case], n: int, seed: int
) -> tuple[Bool[Tensor, " case"], Int[Tensor, " chosen"], Int[Tensor, " tested"]]:
    """The cases of some combinations, to fit on; pairs whose base is of these, to choose by; pairs of other bases.

    The combinations of one value lie on both sides, so that the part of every value is known.
    """
    values, combinations = [case.value for case in cases], [case.combination for case in cases]
    n_parts = min(N_PARTS, len(set(combinations)))
    fitted = folds_of(values, combinations, seed, n_parts) >= round(TESTED * n_parts)
    base = fitted[: len(fitted) // 2]
    chosen, tested = base.nonzero().flatten()[:n], (~base).nonzero().flatten()[:n]
    assert min(len(chosen), len(tested)) > 0, "a variable has more than one combination"
    return fitted, chosen, tested


def _probed(cases: Sequence[Case], seed: int) -> Probed:
    values, combinations = [case.value for case in cases], [case.combination for case in cases]
    return Probed(
        classes=_numbered(values), groups=_numbered(combinations), folds=folds_of(values, combinations, seed),
        n_classes=len(set(values)), seed=seed,
    )  # fmt: skip


def _numbered(names: Sequence[str]) -> Int[Tensor, " case"]:
    index = {name: number for number, name in enumerate(sorted(set(names)))}
    return torch.tensor([index[name] for name in names])
