"""Did it learn the material, or cheat? The mechanism of each answer, and counterfactual checks apart from it."""

from silverstain.studies.audit.auditing import Audit, Audited, AuditSettings, audit
from silverstain.studies.audit.checks import Checks
from silverstain.studies.audit.mechanism import Carrier, Mechanism
from silverstain.studies.audit.proposing import Proposal
from silverstain.studies.audit.spec import AuditPrompt, Span, read_spec

__all__ = [
    "Audit",
    "AuditPrompt",
    "AuditSettings",
    "Audited",
    "Carrier",
    "Checks",
    "Mechanism",
    "Proposal",
    "Span",
    "audit",
    "read_spec",
]
