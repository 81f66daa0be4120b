"""Gaussians and others as pure functions of arrays: sample, log_prob, kl; no parameters.

Arrays are float32 or bfloat16; float64 counts as float32 unless JAX is told otherwise. float16 has
too little room for variances below 2e-5: densities and divergences of these are NaN there.
"""

from ivg.distributions import bernoulli, categorical, dirichlet, gaussian
from ivg.distributions.gaussian import Gaussian

__all__ = ["Gaussian", "bernoulli", "categorical", "dirichlet", "gaussian"]
