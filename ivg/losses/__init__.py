"""Losses as pure functions of arrays: one value per example, the mean is the caller's."""

from ivg.losses import adversarial, independence, information, total_correlation, variational

__all__ = ["adversarial", "independence", "information", "total_correlation", "variational"]
