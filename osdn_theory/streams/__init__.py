"""Streams of tokens: the object, synthetic ones, captured activations, and streams made from streams."""

from osdn_theory.streams.stream import Stream

__all__ = ["Stream"]
