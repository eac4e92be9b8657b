"""The model under study: which module plays which role, and one recorded run of it."""

from silverstain.models.architecture import ARCHITECTURES, Architecture
from silverstain.models.attention import attention_through, causal_pattern
from silverstain.models.batches import TokenBatch
from silverstain.models.language_model import LanguageModel
from silverstain.models.loading import load_model
from silverstain.models.mlps import MlpCall, mlps_through
from silverstain.models.neurons import Neurons, neurons_of
from silverstain.models.norms import Norm
from silverstain.models.prompts import Prompt, as_ids, padded, position_in
from silverstain.models.recording import Harvest, MlpHarvest, Recording, harvest, harvest_mlps, record

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Harvest",
    "LanguageModel",
    "MlpCall",
    "MlpHarvest",
    "Neurons",
    "Norm",
    "Prompt",
    "Recording",
    "TokenBatch",
    "as_ids",
    "attention_through",
    "causal_pattern",
    "harvest",
    "harvest_mlps",
    "load_model",
    "mlps_through",
    "neurons_of",
    "padded",
    "position_in",
    "record",
]
