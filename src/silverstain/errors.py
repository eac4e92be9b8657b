"""What can go wrong and is worth telling apart."""


class SilverstainError(Exception):
    """Everything this package raises on purpose."""


class UsageError(SilverstainError):
    """A mistake the user can correct: one line saying what was wrong, what was seen and what to do (exit code 2)."""
