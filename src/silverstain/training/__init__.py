"""Activations harvested, dictionaries trained."""

from silverstain.fetching import fetched
from silverstain.training.config import TrainingConfig
from silverstain.training.mixtures import Molt, open_molt
from silverstain.training.parallel import joined_processes
from silverstain.training.starting import settings_of
from silverstain.training.text import TextBatches, text_batches
from silverstain.training.trainer import Progress, train_dictionary

__all__ = [
    "Molt",
    "Progress",
    "TextBatches",
    "TrainingConfig",
    "joined_processes",
    "open_molt",
    "settings_of",
    "text_batches",
    "train_dictionary",
]

# names that have moved to other packages, under which they are still found here
__getattr__ = fetched(
    __name__,
    {
        "ConstantSubstitute": "silverstain.bases",
        "Evaluation": "silverstain.evaluation",
        "Fidelity": "silverstain.evaluation",
        "NeuronSubstitute": "silverstain.bases",
        "TokenBatch": "silverstain.models",
        "TokenSubstitute": "silverstain.bases",
        "evaluate": "silverstain.evaluation",
        "evaluate_dictionary": "silverstain.evaluation",
    },
)
