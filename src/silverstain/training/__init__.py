"""Activations harvested, dictionaries trained, fidelity measured."""

from silverstain.training.baselines import ConstantSubstitute as ConstantSubstitute
from silverstain.training.baselines import NeuronSubstitute as NeuronSubstitute
from silverstain.training.baselines import TokenSubstitute as TokenSubstitute
from silverstain.training.batches import TokenBatch as TokenBatch
from silverstain.training.config import TrainingConfig as TrainingConfig
from silverstain.training.evaluation import Fidelity as Fidelity
from silverstain.training.evaluation import evaluate_dictionary as evaluate_dictionary
from silverstain.training.text import TextBatches as TextBatches
from silverstain.training.text import text_batches as text_batches
from silverstain.training.trainer import Progress as Progress
from silverstain.training.trainer import train_dictionary as train_dictionary

__all__ = [
    "ConstantSubstitute",
    "Fidelity",
    "NeuronSubstitute",
    "Progress",
    "TextBatches",
    "TokenBatch",
    "TokenSubstitute",
    "TrainingConfig",
    "evaluate_dictionary",
    "text_batches",
    "train_dictionary",
]
