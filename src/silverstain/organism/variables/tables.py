"""The tables of the small world that pairs are drawn from, made once."""

import functools

from silverstain.organism.families import couplets, entities, induction, reasoning

rhymes = functools.cache(couplets.rhymes)
people = functools.cache(entities.people)
functions = functools.cache(reasoning.functions)
unchanted = functools.cache(induction.held_out_pairs)
"""Neighbours in a row that growing never shows."""
