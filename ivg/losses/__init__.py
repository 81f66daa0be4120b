"""Losses as pure functions of arrays: one value per example, the mean is the caller's."""

from ivg.losses import adversarial, information, variational

__all__ = ["adversarial", "information", "variational"]
