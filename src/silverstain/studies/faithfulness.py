"""The former name of `silverstain.evaluation.faithfulness`, which see."""

from silverstain.evaluation.faithfulness import Faithfulness as Faithfulness
from silverstain.evaluation.faithfulness import HopSkips as HopSkips
from silverstain.evaluation.faithfulness import UnseenEdits as UnseenEdits
from silverstain.evaluation.faithfulness import faithfulness as faithfulness
from silverstain.evaluation.faithfulness import hop_skips as hop_skips
from silverstain.evaluation.faithfulness import unseen_edits as unseen_edits
