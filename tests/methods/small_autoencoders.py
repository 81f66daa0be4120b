"""Tiny autoencoders for the tests of the VAE line: built, started and compiled once each."""

import functools

import jax
import numpy as np
import optax
import promises
from promises import BATCH, SHAPE, quick, under

from ivg import networks as net
from ivg.methods import METHODS

DIM = 3
KEY = jax.random.key(1)
DISCRIMINATOR = dict(width=16, depth=2)
FAMILY = net.autoencoder_family("mlp", width=16)
ENCODER, DECODER = FAMILY.encoder((DIM, DIM)), FAMILY.decoder(SHAPE)
D = net.code_discriminator(**DISCRIMINATOR)


def build(name, *, rates=None, **options):
    """A method; `rates` are those of plain descent by player, None for Adam."""
    # A large eps: where a gradient is 0 but for rounding, Adam would make steps of the rounding.
    tx = {player: optax.adam(5e-3, eps=1e-3) for player in "EGD"}
    if rates is not None:
        tx = {player: optax.sgd(rate) for player, rate in zip("EGD", rates, strict=True)}
    options = dict(network=dict(name="mlp", width=16), dim_z=DIM) | options
    if name == "factorvae":
        options["discriminator"] = DISCRIMINATOR
    return METHODS[name](image_shape=SHAPE, batch_size=BATCH, tx=tx, **options)


make = functools.cache(build)
SGD = (1.0, 1.0, 1.0)


@functools.cache
def begin(name, rates=None):
    """One start for all methods with the same players and optimisers: weights do not scale it."""
    if rates is not None:
        still = dict.fromkeys("EGD" if name == "factorvae" else "EG", optax.sgd(1.0))
        return under(begin(name), still)
    name = name if name == "factorvae" else "vae"
    return started(name)


@functools.cache
def started(name):
    return quick(make(name).init)(jax.random.key(0))


def images(method, seed=0):
    return promises.images(method.phases[0].num_batches, seed)


def encoded(phi, x):
    return tuple(np.asarray(a) for a in quick(ENCODER.infer)(phi, {}, x))


def decoded(theta, z):
    return np.asarray(quick(DECODER.infer)(theta, {}, z))
