"""A loss per example does not care on which device its example lies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg.distributions import Gaussian, categorical, gaussian
from ivg.losses import adversarial, information, variational

X, Y, V, W = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 3)), jnp.float32)


def critic(x):
    return jnp.sum(jnp.square(x), axis=-1)


LOSSES = {
    "log_prob": (lambda x, *p: gaussian.log_prob(x, Gaussian(*p)), (X, Y, V)),
    "kl": (lambda *qp: gaussian.kl(Gaussian(*qp[:2]), Gaussian(*qp[2:])), (X, Y, V, W)),
    "kl_standard": (lambda *q: gaussian.kl_standard(Gaussian(*q)), (X, Y)),
    "kl_uniform": (categorical.kl_uniform, (X,)),
    "non_saturating": (adversarial.non_saturating, (X[:, 0],)),
    "discriminator_real": (adversarial.discriminator_real, (X[:, 0],)),
    "discriminator_fake": (adversarial.discriminator_fake, (X[:, 0],)),
    "wasserstein_critic": (adversarial.wasserstein_critic, (X[:, 0], Y[:, 0])),
    "gradient_penalty": (lambda x: adversarial.gradient_penalty(critic, x), (X,)),
    "gaussian_log_likelihood": (variational.gaussian_log_likelihood, (X, Y)),
    "bernoulli_log_likelihood": (variational.bernoulli_log_likelihood, (jax.nn.sigmoid(X), Y)),
    "squared_error": (variational.squared_error, (X, Y)),
    "categorical_lower_bound": (information.categorical_lower_bound, (jax.nn.softmax(X), Y)),
    "gaussian_lower_bound": (
        lambda c, *q: information.gaussian_lower_bound(c, Gaussian(*q), 1.0),
        (X, Y, V),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_four_devices_with_two_examples_each_equal_one_with_eight(name):
    loss, args = LOSSES[name]
    assert jax.device_count() == 4
    shards = [jnp.reshape(arg, (4, 2, *arg.shape[1:])) for arg in args]
    together = jnp.reshape(jax.pmap(loss)(*shards), (8,))
    np.testing.assert_allclose(together, loss(*args), rtol=1e-5, atol=1e-6)
