"""The former name of `silverstain.evaluation.faithfulness`, which see."""

from silverstain.evaluation.faithfulness import faithfulness_report as faithfulness_report
from silverstain.organism.prompts import organism_prompts as organism_prompts
