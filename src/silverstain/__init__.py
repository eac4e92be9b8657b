"""Silverstain shows how a language model computed an answer."""

__version__ = "0.1.0"
