"""The frozen linear flow of one run and the edges it carries."""

from silverstain.attribution.edge_rows import EdgeRows
from silverstain.attribution.edges import Sources, Writes, edges_into
from silverstain.attribution.flow import EMBEDDING, FrozenFlow, Gradients, Reads
from silverstain.attribution.freezing import Norms, freeze, norms_named
from silverstain.attribution.many import INDEX, Outcome, trace_many
from silverstain.attribution.plan import Plan
from silverstain.attribution.prompt_files import BadLine, PromptLine, read_prompts
from silverstain.attribution.recorded import Place, RecordedRun, record_run
from silverstain.attribution.requests import (
    DifferenceTarget,
    DirectionTarget,
    FeatureTarget,
    TargetRequest,
    TokenTarget,
)
from silverstain.attribution.settings import TraceSettings
from silverstain.attribution.sources import sources_of
from silverstain.attribution.target_text import read_target
from silverstain.attribution.targets import (
    Targets,
    difference_targets,
    feature_targets,
    joined,
    logit_targets,
    unit_targets,
)
from silverstain.attribution.tracing import plan_trace, trace, trace_recorded
from silverstain.fetching import fetched

__all__ = [
    "EMBEDDING",
    "INDEX",
    "BadLine",
    "DifferenceTarget",
    "DirectionTarget",
    "EdgeRows",
    "FeatureTarget",
    "FrozenFlow",
    "Gradients",
    "Norms",
    "Outcome",
    "Place",
    "Plan",
    "PromptLine",
    "Reads",
    "RecordedRun",
    "Sources",
    "TargetRequest",
    "Targets",
    "TokenTarget",
    "TraceSettings",
    "Writes",
    "difference_targets",
    "edges_into",
    "feature_targets",
    "freeze",
    "joined",
    "logit_targets",
    "norms_named",
    "plan_trace",
    "read_prompts",
    "read_target",
    "record_run",
    "sources_of",
    "trace",
    "trace_many",
    "trace_recorded",
    "unit_targets",
]

# names that have moved or become one with another, under which they are still found here
__getattr__ = fetched(
    __name__,
    {
        "MOST_TARGETS": "silverstain.attribution.settings",
        "PROBABILITY": "silverstain.attribution.settings",
        "edited_logits": "silverstain.bases",
        "replaced_logits": "silverstain.bases",
    },
)
