"""Gaussians and categoricals as pure functions of arrays: sample, log_prob, kl; no parameters."""

from ivg.distributions import categorical, gaussian
from ivg.distributions.gaussian import Gaussian

__all__ = ["Gaussian", "categorical", "gaussian"]
