"""The former name of `silverstain.verification`, which see."""

from silverstain.verification import Agreement as Agreement
from silverstain.verification import Claim as Claim
from silverstain.verification import Dose as Dose
from silverstain.verification import InhibitedFeature as Ghost  # noqa: F401
from silverstain.verification import Verification as Verification
from silverstain.verification import agreement as agreement
from silverstain.verification import divided as divided
from silverstain.verification import inhibited_features as ghosts  # noqa: F401
from silverstain.verification import verdict as verdict
from silverstain.verification import verify as verify
