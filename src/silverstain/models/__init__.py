"""The model under study: which module plays which role, and one recorded run of it."""

from silverstain.models.architecture import ARCHITECTURES as ARCHITECTURES
from silverstain.models.architecture import Architecture as Architecture
from silverstain.models.attention import attention_through as attention_through
from silverstain.models.attention import causal_pattern as causal_pattern
from silverstain.models.batches import TokenBatch as TokenBatch
from silverstain.models.language_model import LanguageModel as LanguageModel
from silverstain.models.loading import load_model as load_model
from silverstain.models.mlps import MlpCall as MlpCall
from silverstain.models.mlps import mlps_through as mlps_through
from silverstain.models.norms import Norm as Norm
from silverstain.models.prompts import Prompt as Prompt
from silverstain.models.prompts import as_ids as as_ids
from silverstain.models.prompts import padded as padded
from silverstain.models.prompts import position_in as position_in
from silverstain.models.recording import Harvest as Harvest
from silverstain.models.recording import Recording as Recording
from silverstain.models.recording import harvest as harvest
from silverstain.models.recording import record as record

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Harvest",
    "LanguageModel",
    "MlpCall",
    "Norm",
    "Prompt",
    "Recording",
    "TokenBatch",
    "as_ids",
    "attention_through",
    "causal_pattern",
    "harvest",
    "load_model",
    "mlps_through",
    "padded",
    "position_in",
    "record",
]
