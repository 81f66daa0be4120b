"""Gaussians and others as pure functions of arrays: sample, log_prob, kl; no parameters."""

from ivg.distributions import bernoulli, categorical, dirichlet, gaussian
from ivg.distributions.gaussian import Gaussian

__all__ = ["Gaussian", "bernoulli", "categorical", "dirichlet", "gaussian"]
