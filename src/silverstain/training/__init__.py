"""Activations harvested, dictionaries trained, fidelity measured."""

from silverstain.training.baselines import ConstantSubstitute as ConstantSubstitute
from silverstain.training.baselines import NeuronSubstitute as NeuronSubstitute
from silverstain.training.baselines import TokenSubstitute as TokenSubstitute
from silverstain.training.batches import TokenBatch as TokenBatch
from silverstain.training.config import TrainingConfig as TrainingConfig
from silverstain.training.evaluation import Evaluation as Evaluation
from silverstain.training.evaluation import Fidelity as Fidelity
from silverstain.training.evaluation import evaluate as evaluate
from silverstain.training.evaluation import evaluate_dictionary as evaluate_dictionary
from silverstain.training.mixtures import Molt as Molt
from silverstain.training.mixtures import open_molt as open_molt
from silverstain.training.parallel import joined_processes as joined_processes
from silverstain.training.text import TextBatches as TextBatches
from silverstain.training.text import text_batches as text_batches
from silverstain.training.trainer import Progress as Progress
from silverstain.training.trainer import train_dictionary as train_dictionary

__all__ = [
    "ConstantSubstitute",
    "Evaluation",
    "Fidelity",
    "Molt",
    "NeuronSubstitute",
    "Progress",
    "TextBatches",
    "TokenBatch",
    "TokenSubstitute",
    "TrainingConfig",
    "evaluate",
    "evaluate_dictionary",
    "joined_processes",
    "open_molt",
    "text_batches",
    "train_dictionary",
]
