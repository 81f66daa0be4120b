"""A loss per example does not care on which device its example lies."""

import jax
import jax.numpy as jnp
import numpy as np

from ivg.distributions import Gaussian, categorical, gaussian
from ivg.losses import adversarial, information, variational

BATCHES = np.random.default_rng(0).normal(size=(4, 8, 3)).astype(np.float32)


def critic(x):
    return jnp.sum(jnp.square(x), axis=-1)


def losses(x, y, v, w):
    p, q = Gaussian(x, y), Gaussian(v, w)
    one = {
        "non_saturating": adversarial.non_saturating,
        "saturating": adversarial.saturating,
        "discriminator_real": adversarial.discriminator_real,
        "discriminator_fake": adversarial.discriminator_fake,
        "wasserstein_generator": adversarial.wasserstein_generator,
    }
    return {
        **{name: loss(x[:, 0]) for name, loss in one.items()},
        "wasserstein_critic": adversarial.wasserstein_critic(x[:, 0], y[:, 0]),
        "gradient_penalty": adversarial.gradient_penalty(critic, x),
        "log_prob": gaussian.log_prob(x, q),
        "kl": gaussian.kl(p, q),
        "kl_standard": gaussian.kl_standard(p),
        "kl_uniform": categorical.kl_uniform(x),
        "gaussian_log_likelihood": variational.gaussian_log_likelihood(x, y),
        "bernoulli_log_likelihood": variational.bernoulli_log_likelihood(x, y),
        "squared_error": variational.squared_error(x, y),
        "categorical_lower_bound": information.categorical_lower_bound(x, y),
        "gaussian_lower_bound": information.gaussian_lower_bound(x, q, 1.0),
    }


def test_four_devices_with_two_examples_each_equal_one_with_eight():
    assert jax.device_count() == 4
    shards = [np.reshape(batch, (4, 2, 3)) for batch in BATCHES]
    split, whole = jax.pmap(losses)(*shards), jax.jit(losses)(*BATCHES)
    for name, expected in whole.items():
        actual = np.reshape(split[name], (8,))
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6, err_msg=name)
