"""Scores: pure functions of arrays, computed on the host."""

from ivg.metrics import clustering

__all__ = ["clustering"]
