"""Disentangled generative modelling in JAX: InfoVAEGAN and its relatives as pure functions."""

__version__ = "0.1.0"
