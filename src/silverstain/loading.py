"""The front door: loads a model together with the dictionary that stands in for its dense parts."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from silverstain.attribution import Plan, TraceSettings, plan_trace, trace
from silverstain.attribution.secant import contrast as contrast_runs
from silverstain.bases import Basis, Dictionary, NeuronBasis, check_fidelity, check_fits, fitted, open_dictionary
from silverstain.bases.layout import CARDS
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.features import Cards, read_graph
from silverstain.features.card_files import AnyCards, cards_by_hash
from silverstain.graphs import Graph, Story
from silverstain.interventions import AnyEdit, Regime, editing
from silverstain.known_models import cards_folder
from silverstain.models import LanguageModel, load_model
from silverstain.references import ORGANISM, ORGANISM_DICTIONARIES, check_references, is_organism, reads_neurons
from silverstain.verification import Verification
from silverstain.verification import verify as verify_graph
from silverstain.verification.graph_run import check_belongs


@brief
@dataclass(frozen=True, kw_only=True)
class ReplacementModel:
    """A language model and what it is read in: a dictionary that was trained to replace its MLPs, or its neurons."""

    model: LanguageModel
    dictionary: Basis
    cards: Cards | None = None
    """What each feature means, where that has been worked out."""

    def __post_init__(self) -> None:
        check_fits(self.dictionary, self.model)
        if self.cards is not None and isinstance(self.dictionary, Dictionary):
            self.cards.check_fits(self.dictionary)

    @property
    def trained(self) -> Dictionary:
        """The dictionary, where one stands in for the MLPs; UsageError where the model is read in its own neurons."""
        if not isinstance(self.dictionary, Dictionary):
            raise UsageError(
                f"{self.model.name} is read in its own neurons, which replace nothing; name a dictionary that was "
                "trained on it (--dictionary FOLDER or hub id)"
            )
        return self.dictionary

    def trace(
        self,
        prompt: str | Sequence[int],
        settings: TraceSettings | None = None,
        *,
        resume: str | Path | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        **keywords: Any,
    ) -> Graph:
        """The attribution graph of a prompt: see `silverstain.trace`."""
        return trace(self.model, self.dictionary, prompt, settings, resume=resume, on_progress=on_progress, **keywords)

    def contrast(
        self,
        base: str | Sequence[int],
        contrast: str | Sequence[int],
        settings: TraceSettings | None = None,
        **keywords: Any,
    ) -> Graph:
        """Why two prompts of one length are answered differently, exactly: see `silverstain.contrast`."""
        return contrast_runs(self.model, self.dictionary, base, contrast, settings, **keywords)

    def plan(self, prompt: str | Sequence[int], settings: TraceSettings | None = None, **keywords: Any) -> Plan:
        """What a trace of the prompt would take: see `silverstain.attribution.plan_trace`."""
        return plan_trace(self.model, self.dictionary, prompt, settings, **keywords)

    def intervene(
        self, edits: Sequence[AnyEdit], regime: Regime | None = None, **held: Any
    ) -> AbstractContextManager[LanguageModel]:
        """The model with the edits in force, for the length of a `with`; afterwards it is as before.

        with model.intervene([silverstain.Edit(op="ablate", features=((1, 23),))]) as edited:
            logits = edited.logits(token_ids)

        `regime` says what is held meanwhile; keywords (`attention=`, `held_layers=`, …) change single parts of it.
        """
        return editing(self.model, self.dictionary, edits, regime, **held)

    def read(self, graph: Graph) -> Story:
        """A first reading of a graph of this model: groups and labels, as far as there is support for them.

        Groups come from the feature cards, where there are any; so does the label of a feature, and where no class
        fits it with support, it is called by the tokens it writes. The rest has no label. UsageError if the graph is of
        another model or dictionary.
        """
        check_belongs(graph, self.model, self.dictionary)
        return read_graph(graph, self.model, self.dictionary, self.cards)


def load(
    reference: str | Path = ORGANISM,
    *,
    dictionary: str | Path | None = None,
    check_dictionary: bool = True,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    n_real: int | Literal["chat"] = 1,
) -> ReplacementModel:
    """A model, its dictionary, and what is known of the dictionary's features.

    `reference` is "organism" (the small model that comes along), "organism/SIBLING", a known name such as
    "smollm2-135m" (`silverstain models list`), a Hugging Face folder, a GGUF file or a hub id. For the organism,
    `dictionary` is "cross-layer" (the default, where there is one), "per-layer" or a folder; for other models it is a
    folder or a hub id, of any format that `open_dictionary` reads, and where none is given the model is read in its own
    neurons, as "neurons" says for every model. A dictionary that does not carry the hash of its model is tried on a
    short text (`check_dictionary`): one that was trained elsewhere in the block, or on other weights, gives no error by
    itself.
    `n_real` leading positions keep their real MLP; "chat": the head of the model's chat template. UsageError if either
    is not there (said before anything is loaded, where that can be known), or they do not belong to each other.
    """
    check_references(reference, dictionary)
    if reads_neurons(reference, dictionary):
        if is_organism(reference):
            from silverstain.organism import load_organism_model

            model = load_organism_model(str(reference).partition("/")[2] or "general", device=device, dtype=dtype)
        else:
            model = load_model(reference, device=device, dtype=dtype, n_real=n_real)
        return ReplacementModel(model=model, dictionary=NeuronBasis(model))
    if is_organism(reference):
        from silverstain.organism import load_organism_model

        is_its_own = dictionary is None or str(dictionary) in ORGANISM_DICTIONARIES
        kind = None if dictionary is None else str(dictionary)
        source = dictionary_of_organism(str(reference), kind) if is_its_own else str(dictionary)
        model = load_organism_model(str(reference).partition("/")[2] or "general", device=device, dtype=dtype)
        opened = open_dictionary(source, device=device, dtype=dtype)
    else:
        assert dictionary is not None  # as is checked above
        opened = open_dictionary(dictionary, device=device, dtype=dtype)  # first: the smaller, and the likelier to fail
        model = load_model(reference, device=device, dtype=dtype, n_real=n_real)
    opened = fitted(opened, model)
    check_fits(opened, model)
    if check_dictionary and opened.model_hash is None:
        check_fidelity(opened, model)
    cards = None if opened.folder is None else opened.folder / CARDS
    return ReplacementModel(
        model=model, dictionary=opened, cards=Cards.load(cards) if cards is not None and cards.exists() else None
    )


def dictionary_of_organism(reference: str, kind: str | None = None) -> Path:
    """The folder of one of the dictionaries of "organism/SIBLING", of the first there is where no kind is named."""
    from silverstain.organism import dictionary_path

    return dictionary_path(reference.partition("/")[2] or "general", kind)


def cards_of(graph: Graph) -> AnyCards | None:
    """The cards of the basis that a graph was traced with: those that `silverstain features build` keeps in the cache
    or a package brought, by its hash, else those beside the dictionary, if that is here under the name the graph has
    for it and is the same one. Neither a model nor a dictionary is loaded, and nothing is fetched."""
    named = {what: graph.meta.get(what) or {} for what in ("model", "dictionary")}
    model, kind = (str(one.get("name") or "") for one in named.values())
    basis = str(named["dictionary"].get("hash") or "")
    found = cards_by_hash(basis, cards_folder())
    if found is not None:
        return found
    if not kind:
        return None
    try:
        if is_organism(model) and kind in ORGANISM_DICTIONARIES:
            folder = dictionary_of_organism(model, kind)
        else:
            folder = Path(kind)
        if not (folder / CARDS).is_file():
            return None
        cards = Cards.load(folder / CARDS)
    except (UsageError, OSError, ValueError):  # a stranger's graph may name anything
        return None
    return cards if cards.meta.get("dictionary_hash") == named["dictionary"].get("hash") else None


def verify(
    graph: Graph,
    model: ReplacementModel,
    *,
    story: Story | None = None,
    max_sources: int = 64,
    max_claims: int = 400,
    n_controls: int = 8,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Test a graph's claims on the real model: see `silverstain.verification.verify`.

    Groups are those of `story`; without one, those that the model's feature cards give.
    """
    groups = (model.read(graph) if story is None else story).groups_in(graph)
    return verify_graph(
        model.model,
        model.dictionary,
        graph,
        groups=groups,
        max_sources=max_sources,
        max_claims=max_claims,
        n_controls=n_controls,
        seed=seed,
        on_progress=on_progress,
    )
