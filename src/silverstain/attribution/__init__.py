"""The frozen linear flow of one run and the edges it carries."""

from silverstain.attribution.edge_rows import EdgeRows as EdgeRows
from silverstain.attribution.edges import Sources as Sources
from silverstain.attribution.edges import Writes as Writes
from silverstain.attribution.edges import edges_into as edges_into
from silverstain.attribution.flow import EMBEDDING as EMBEDDING
from silverstain.attribution.flow import FrozenFlow as FrozenFlow
from silverstain.attribution.flow import Gradients as Gradients
from silverstain.attribution.flow import Reads as Reads
from silverstain.attribution.freezing import Norms as Norms
from silverstain.attribution.freezing import freeze as freeze
from silverstain.attribution.freezing import norms_named as norms_named
from silverstain.attribution.many import INDEX as INDEX
from silverstain.attribution.many import Outcome as Outcome
from silverstain.attribution.many import trace_many as trace_many
from silverstain.attribution.plan import Plan as Plan
from silverstain.attribution.prompt_files import BadLine as BadLine
from silverstain.attribution.prompt_files import PromptLine as PromptLine
from silverstain.attribution.prompt_files import read_prompts as read_prompts
from silverstain.attribution.recorded import Place as Place
from silverstain.attribution.recorded import RecordedRun as RecordedRun
from silverstain.attribution.recorded import record_run as record_run
from silverstain.attribution.requests import DifferenceTarget as DifferenceTarget
from silverstain.attribution.requests import DirectionTarget as DirectionTarget
from silverstain.attribution.requests import FeatureTarget as FeatureTarget
from silverstain.attribution.requests import TargetRequest as TargetRequest
from silverstain.attribution.requests import TokenTarget as TokenTarget
from silverstain.attribution.settings import TraceSettings as TraceSettings
from silverstain.attribution.sources import sources_of as sources_of
from silverstain.attribution.target_text import read_target as read_target
from silverstain.attribution.targets import Targets as Targets
from silverstain.attribution.targets import difference_targets as difference_targets
from silverstain.attribution.targets import feature_targets as feature_targets
from silverstain.attribution.targets import joined as joined
from silverstain.attribution.targets import logit_targets as logit_targets
from silverstain.attribution.targets import unit_targets as unit_targets
from silverstain.attribution.tracing import plan_trace as plan_trace
from silverstain.attribution.tracing import trace as trace
from silverstain.attribution.tracing import trace_recorded as trace_recorded
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
        "ManySettings": "silverstain.attribution.settings:TraceSettings",
        "edited_logits": "silverstain.bases",
        "replaced_logits": "silverstain.bases",
    },
)
