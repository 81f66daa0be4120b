"""Adversarial losses: non-saturating, Wasserstein, and penalties on the critic's gradient.

`x` is a real image, `x_g` a generated one, `[B, ...]`. Discriminators return logits `[B]` (large:
real), critics return scores `[B]`. Every loss is to be *minimised* by the player that it is named
after, is per example, `[B]`, and is finite in value and gradient for logits of +-1e4. Nothing here
stops a gradient: a player that should not move is the caller's to leave out of `jax.grad`.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

Critic = Callable[[jax.Array], jax.Array]  # images [B, ...] -> scores [B]


def non_saturating(logits_fake: jax.Array) -> jax.Array:
    """Generator loss -log D(x_g), in nats: from `[B]` to `[B]`; `logits_fake` carry gradient.

    Goodfellow et al., "Generative Adversarial Nets", 2014, end of section 3.

    Examples:
        >>> from ivg.losses import adversarial
        >>> undecided, fooled = 0.0, 20.0
        >>> print(np.asarray(adversarial.non_saturating(jnp.array([undecided, fooled]))).round(3))
        [0.693 0.   ]
    """
    chex.assert_rank(logits_fake, 1)
    return jax.nn.softplus(-logits_fake)


def saturating(logits_fake: jax.Array) -> jax.Array:
    """Generator loss log(1 - D(x_g)), in nats: from `[B]` to `[B]`; `logits_fake` carry gradient.

    The minimax form, Goodfellow et al. 2014, eq. 1. Its gradient vanishes where the discriminator
    is sure, which is why `non_saturating` is preferred.
    """
    chex.assert_rank(logits_fake, 1)
    return -jax.nn.softplus(logits_fake)


def discriminator_real(logits: jax.Array, label: float | jax.Array = 1.0) -> jax.Array:
    """Discriminator's cross-entropy on real images, in nats, `[B]`.

    Args:
        logits: Logits on real images, `[B]`.
        label: The target for "real", a scalar or `[B]`: 1, or smoothed. IB-GAN draws it from
            U(0.7, 1.2), so it may exceed 1.

    Returns:
        -label * log D(x) - (1 - label) * log(1 - D(x)); `logits` carry gradient.

    Examples:
        >>> from ivg.losses import adversarial
        >>> logits = jnp.array([0.0, 20.0])
        >>> print(np.asarray(adversarial.discriminator_real(logits)).round(3))
        [0.693 0.   ]
        >>> print(np.asarray(adversarial.discriminator_real(logits, label=0.9)).round(3))
        [0.693 2.   ]
    """
    chex.assert_rank(logits, 1)
    chex.assert_is_broadcastable(jnp.shape(label), logits.shape)
    return label * jax.nn.softplus(-logits) + (1.0 - label) * jax.nn.softplus(logits)


def discriminator_fake(logits: jax.Array) -> jax.Array:
    """Discriminator's cross-entropy -log(1 - D(x_g)) on generated images, in nats.

    From `[B]` to `[B]`; `logits` carry gradient.
    """
    chex.assert_rank(logits, 1)
    return jax.nn.softplus(logits)


def wasserstein_critic(scores_real: jax.Array, scores_fake: jax.Array) -> jax.Array:
    """Critic loss D(x_g) - D(x), `[B]`; the mean estimates minus the Wasserstein-1 distance.

    Arjovsky, Chintala, Bottou, "Wasserstein GAN", 2017, eq. 2; InfoVAEGAN eq. 4 without penalty.

    Args:
        scores_real: Scores of real images, `[B]`.
        scores_fake: Scores of generated images, `[B]`.

    Returns:
        The loss; both arguments carry gradient.

    Examples:
        >>> from ivg.losses import adversarial
        >>> loss = adversarial.wasserstein_critic(jnp.array([3.0, 1.0]), jnp.array([1.0, 2.0]))
        >>> print(loss, -loss.mean())  # its negative mean: the distance between real and generated
        [-2.  1.] 0.5
    """
    chex.assert_rank([scores_real, scores_fake], 1)
    chex.assert_equal_shape([scores_real, scores_fake])
    return scores_fake - scores_real


def wasserstein_generator(scores_fake: jax.Array) -> jax.Array:
    """Generator loss -D(x_g): from `[B]` to `[B]`; `scores_fake` carry gradient."""
    chex.assert_rank(scores_fake, 1)
    return -scores_fake


def interpolate_from_noise(uniform: jax.Array, x: jax.Array, x_g: jax.Array) -> jax.Array:
    """`interpolate` with the noise given, so that it can be shared or checked.

    Args:
        uniform: One number of [0, 1] per example, `[B]`: 1 returns `x`, 0 returns `x_g`.
        x: Real images, `[B, ...]`.
        x_g: Generated images, of the same shape.

    Returns:
        uniform * x + (1 - uniform) * x_g.

    Examples:
        >>> from ivg.losses import adversarial
        >>> x, x_g = jnp.ones((3, 2)), jnp.zeros((3, 2))
        >>> print(adversarial.interpolate_from_noise(jnp.array([0.0, 0.25, 1.0]), x, x_g)[:, 0])
        [0.   0.25 1.  ]
    """
    chex.assert_equal_shape([x, x_g])
    chex.assert_shape(uniform, (len(x),))
    weight = jnp.reshape(uniform, (-1,) + (1,) * (x.ndim - 1))
    return weight * x + (1.0 - weight) * x_g


def interpolate(key: jax.Array, x: jax.Array, x_g: jax.Array) -> jax.Array:
    """Points on the lines between real and generated images, where WGAN-GP penalises.

    Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, Algorithm 1, line 6. One
    position is drawn per example, the same for all its pixels.

    Args:
        key: Random key; consumed.
        x: Real images, `[B, ...]`.
        x_g: Generated images, of the same shape.

    Returns:
        Images of the same shape; `x` and `x_g` carry gradient.
    """
    return interpolate_from_noise(jax.random.uniform(key, (len(x),), jnp.result_type(x)), x, x_g)


def gradient_norm(critic: Critic, x: jax.Array) -> jax.Array:
    """Euclidean norm of the critic's gradient at each image, `[B]`.

    Args:
        critic: From images `[B, ...]` to scores `[B]`. A score may depend on its own image only: a
            critic that mixes examples, as batch norm does, has no gradient per example.
        x: Images, `[B, ...]`; the norm runs over all axes but the first.

    Returns:
        The norm; `x` and whatever `critic` closes over carry gradient. Where the critic's gradient
        is 0 the norm has no derivative, and 0 is taken.

    Examples:
        >>> from ivg.losses import adversarial
        >>> slope = jnp.array([3.0, 4.0])
        >>> norm = adversarial.gradient_norm(lambda x: x @ slope, jnp.zeros((2, 2)))
        >>> print(np.asarray(norm).round(3))
        [5. 5.]
    """

    def summed_scores(x: jax.Array) -> jax.Array:
        scores = critic(x)
        chex.assert_shape(scores, (len(x),))
        return jnp.sum(scores)

    squared = _squared_norm(jax.grad(summed_scores)(x))
    # The slope of the root is infinite at 0. The inner `where` keeps it out of the gradient, which
    # would otherwise be 0 * inf = NaN for a dead critic.
    dead = squared < jnp.finfo(squared.dtype).tiny
    return jnp.where(dead, 0.0, jnp.sqrt(jnp.where(dead, 1.0, squared)))


def gradient_penalty(critic: Critic, x: jax.Array) -> jax.Array:
    """WGAN-GP's penalty (|grad D(x)| - 1)^2, `[B]`, without its weight.

    Gulrajani et al. 2017, eq. 3. InfoVAEGAN's eq. 4 prints it with a plus sign inside a maximum;
    it is to be *added* to the critic's loss, as here.

    Args:
        critic: From images `[B, ...]` to scores `[B]`, each of its own image only.
        x: Where to penalise, usually `interpolate(key, x, x_g)`.

    Returns:
        The penalty; `x` and whatever `critic` closes over carry gradient.

    Examples:
        A linear critic has one slope everywhere; only a slope of 1 costs nothing:

        >>> from ivg.losses import adversarial
        >>> x, slope = jnp.zeros((2, 2)), jnp.array([0.6, 0.8])
        >>> print(np.asarray(adversarial.gradient_penalty(lambda x: x @ slope, x)).round(3))
        [0. 0.]
        >>> print(np.asarray(adversarial.gradient_penalty(lambda x: x @ (3 * slope), x)).round(3))
        [4. 4.]
    """
    return jnp.square(gradient_norm(critic, x) - 1.0)


def gradient_penalty_one_sided(critic: Critic, x: jax.Array) -> jax.Array:
    """max(|grad D(x)| - 1, 0)^2, `[B]`: only slopes above 1 cost; otherwise `gradient_penalty`.

    Petzka, Fischer, Lukovnicov, "On the regularization of Wasserstein GANs", 2018 (WGAN-LP).

    Examples:
        >>> from ivg.losses import adversarial
        >>> x, slope = jnp.zeros((1, 2)), jnp.array([0.6, 0.8])
        >>> critics = [lambda x: x @ (0.5 * slope), lambda x: x @ (2 * slope)]
        >>> found = [adversarial.gradient_penalty_one_sided(critic, x) for critic in critics]
        >>> print(np.asarray(found).round(3).ravel())
        [0. 1.]
    """
    return jnp.square(jax.nn.relu(gradient_norm(critic, x) - 1.0))


def gradient_penalty_zero_centred(critic: Critic, x: jax.Array) -> jax.Array:
    """|grad D(x)|^2, `[B]`; arguments as in `gradient_penalty`.

    On real images this is R1 of Mescheder, Geiger, Nowozin, "Which Training Methods for GANs do
    actually Converge?", 2018, without its weight gamma / 2.
    """
    return jnp.square(gradient_norm(critic, x))


def _squared_norm(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim)))
