"""The former name of `silverstain.evaluation.faithfulness_report`, which see."""

from silverstain.evaluation.faithfulness_report import faithfulness_report as faithfulness_report
from silverstain.evaluation.faithfulness_report import organism_prompts as organism_prompts
