"""Mutual information between codes and images, bounded from below by a network that reads codes.

I(u; x) = H(u) - H(u|x) >= E[log q(u|x)] + H(u) for any q, with equality where q is the posterior:
Barber and Agakov 2003; Chen et al., "InfoGAN", 2016, eqs. 4 and 5; InfoVAEGAN, the information
term of eq. 11. `d` is a discrete code, `c` a continuous one, q what the network says of them given
the image. Bounds are in nats, per example, `[B]`, to be *maximised*. Entropies of priors are plain
floats.

The rest is for encoders that must *not* tell: the bound of Donsker and Varadhan on I(a; b), for any
network T that scores pairs (MINE: Belghazi et al., "Mutual Information Neural Estimation", ICML
2018), and CSVAE's penalty on labels that can be predicted (Klys et al. 2018).
"""

import math

import chex
import jax
import jax.numpy as jnp

from ivg.distributions import Gaussian, categorical, gaussian


def categorical_lower_bound(d: jax.Array, logits: jax.Array) -> jax.Array:
    """Bound log q(d|x) + ln K, `[B]`, whose mean is at most I(d; x); d is uniform over K.

    Args:
        d: The codes that the image was generated from, one-hot `[B, K]`.
        logits: Logits of q(d|x), `[B, K]`.

    Returns:
        The bound, at most ln K; `d` and `logits` carry gradient.

    Examples:
        >>> from ivg.losses import information
        >>> d = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        >>> sure, guessed = 20 * d, jnp.zeros((2, 2))
        >>> print(np.asarray(information.categorical_lower_bound(d, sure)).round(3))  # ln 2
        [0.693 0.693]
        >>> print(np.abs(information.categorical_lower_bound(d, guessed)).round(3))
        [0. 0.]
    """
    return categorical.log_prob(d, logits) + categorical_entropy(logits.shape[-1])


def gaussian_lower_bound(c: jax.Array, q: Gaussian, entropy: float | jax.Array) -> jax.Array:
    """Bound log q(c|x) + H(c), `[B]`, whose mean is at most I(c; x).

    Args:
        c: The codes that the image was generated from, `[B, n]`.
        q: q(c|x), arrays of shape `[B, n]`.
        entropy: Entropy of the prior of c in nats, from `uniform_entropy` or `normal_entropy`.

    Returns:
        The bound; `c` and `q` carry gradient.

    Examples:
        c ~ N(0, I) in two dimensions, read with a standard deviation of 0.1, tells 2 ln 10 nats.
        Here c is right at the mean, half a nat per dimension above the average:

        >>> from ivg.distributions import Gaussian
        >>> from ivg.losses import information
        >>> c, log_var = jnp.ones((1, 2)), jnp.full((1, 2), 2 * jnp.log(0.1))
        >>> entropy = information.normal_entropy(2)
        >>> bound = information.gaussian_lower_bound(c, Gaussian(c, log_var), entropy)
        >>> print(np.asarray(bound).round(3))
        [5.605]
    """
    return gaussian.log_prob(c, q) + entropy


def reconstruction_lower_bound(z: jax.Array, z_hat: jax.Array) -> jax.Array:
    """Bound log q(z|x) - log p(z), `[B]`, for z ~ N(0, I) and q = N(z_hat, I).

    Jeon et al., "IB-GAN", AAAI 2021, the bound I^L as its released code logs it. Its mean is at
    most I(z; x).

    Args:
        z: The generator's input, `[B, n]`.
        z_hat: Its reconstruction from the image, `[B, n]`.

    Returns:
        (|z|^2 - |z - z_hat|^2) / 2; both arguments carry gradient.

    Examples:
        >>> from ivg.losses import information
        >>> z = jnp.array([[1.0, 2.0]])
        >>> print(information.reconstruction_lower_bound(z, z))
        [2.5]
        >>> print(information.reconstruction_lower_bound(z, jnp.zeros((1, 2))))  # the prior's mean
        [0.]
    """
    chex.assert_equal_shape([z, z_hat])
    return 0.5 * jnp.sum(jnp.square(z) - jnp.square(z - z_hat), axis=-1)


def uniform_entropy(low: float, high: float, size: int) -> float:
    """Differential entropy of U(low, high)^size, nats.

    Examples:
        >>> from ivg.losses import information
        >>> round(information.uniform_entropy(-1.0, 1.0, 2), 3)
        1.386
    """
    if not low < high:
        raise ValueError(f"a uniform distribution needs low < high, not {low} and {high}")
    return size * math.log(high - low)


def normal_entropy(size: int) -> float:
    """Differential entropy of N(0, I) in `size` dimensions, nats.

    Examples:
        >>> from ivg.losses import information
        >>> round(information.normal_entropy(1), 3)
        1.419
    """
    return 0.5 * size * math.log(2.0 * math.pi * math.e)


def categorical_entropy(num_classes: int) -> float:
    """Entropy of the uniform distribution over `num_classes`, nats.

    Examples:
        >>> from ivg.losses import information
        >>> round(information.categorical_entropy(10), 3)
        2.303
    """
    return math.log(num_classes)


def agreement(logits_a: jax.Array, logits_b: jax.Array, *, balance: float) -> jax.Array:
    """How surely and evenly two views of the same images fall into the same classes: a *scalar*.

    mean_b ln <p(a_b), p(b_b)> + balance * H(mean p), to be *maximised*: the clustering loss of SCAN
    (Van Gansbeke et al. 2020, eq. 2) with transformed copies instead of mined neighbours, as IMSAT
    (Hu et al. 2017) takes them. A batch quantity through H(mean p).

    Args:
        logits_a: Logits of one view, `[B, K]`.
        logits_b: Logits of the other view of the same images, `[B, K]`.
        balance: Weight of the entropy of the mean prediction, which keeps all classes in use.

    Returns:
        At most `balance` ln K, in nats, which agreeing, certain and balanced predictions reach.
        Symmetric in its arguments; both carry gradient, finite also where views contradict.

    Examples:
        >>> from ivg.losses import information
        >>> logits = 20.0 * jnp.eye(2)  # two images, each surely in a class of its own
        >>> round(information.agreement(logits, logits, balance=1.0).item(), 3)
        0.693
    """
    chex.assert_rank([logits_a, logits_b], 2)
    chex.assert_equal_shape([logits_a, logits_b])
    log_a, log_b = jax.nn.log_softmax(logits_a), jax.nn.log_softmax(logits_b)
    mean = 0.5 * (jnp.mean(jnp.exp(log_a), axis=0) + jnp.mean(jnp.exp(log_b), axis=0))
    return jnp.mean(jax.nn.logsumexp(log_a + log_b, axis=-1)) + balance * _entropy(mean)


def donsker_varadhan(joint: jax.Array, product: jax.Array) -> jax.Array:
    """Donsker and Varadhan's bound mean T(joint) - ln mean exp T(product), a *scalar* in nats.

    Belghazi et al. 2018, theorem 1: for any T its expectation over infinite batches is at most
    I(a; b), with equality for T = log p(a, b) - log p(a) p(b) + constant. To be *maximised* by T;
    an encoder that hides something minimises it. The gradient of one batch is biased.

    Args:
        joint: Scores T(a, b) of pairs that belong together, `[B]`.
        product: Scores of pairs from the product of the marginals, `[M]`: b of a second,
            independent minibatch (or of the same one, shuffled). M may differ from B.

    Returns:
        The bound; both arguments carry gradient. Exact also where exp of a score overflows.

    Examples:
        Two fair coins that always agree share ln 2 nats. The best T is ln 2 for equal coins and
        very low for others, which are half of the product's pairs:

        >>> from ivg.losses import information
        >>> joint, product = jnp.log(2.0) * jnp.ones(4), jnp.array([jnp.log(2.0), -30.0])
        >>> round(information.donsker_varadhan(joint, product).item(), 3)
        0.693
        >>> print(information.donsker_varadhan(jnp.ones(4), jnp.ones(2)))  # a T that tells nothing
        0.0
    """
    chex.assert_rank([joint, product], 1)
    return jnp.mean(joint) - log_mean_exp(product)


def donsker_varadhan_ema(
    joint: jax.Array, product: jax.Array, log_average: jax.Array, *, rate: float = 0.01
) -> tuple[jax.Array, jax.Array]:
    """`donsker_varadhan` with MINE's gradient, whose bias vanishes as `rate` does.

    The value is the plain bound. The gradient is that of Belghazi et al. 2018, eq. 12, with the
    batch's denominator mean exp T(product) replaced by its moving average (section 3.2 there).

    Args:
        joint: Scores T(a, b) of pairs that belong together, `[B]`.
        product: Scores of pairs from the product of the marginals, `[M]`.
        log_average: ln of the moving average before this batch, a scalar: a logarithm, so that
            nothing overflows. Start at 0, which suits a T that starts near 0.
        rate: Weight of this batch in the average, in (0, 1]. At 1 the gradient is the plain one.

    Returns:
        The bound, `joint` and `product` carrying gradient, and ln of the moving average with this
        batch in it, which carries none. As it is in there, the denominators' ratio is at most
        1 / rate.
    """
    chex.assert_rank([joint, product, log_average], [1, 1, 0])
    log_mean = log_mean_exp(product)
    here = jax.lax.stop_gradient(log_mean)
    before = jax.lax.stop_gradient(log_average)
    # log1p(-1) = -inf is fine here: exp(-inf) = 0 of the past.
    log_rates = jnp.log1p(-rate), jnp.log(rate)
    average = jnp.logaddexp(log_rates[0] + before, log_rates[1] + here).astype(here.dtype)
    # Its gradient is that of mean exp T(product) over the average; the bracket is 0.
    log_mean = here + jnp.exp(here - average) * (log_mean - here)
    return jnp.mean(joint) - log_mean, average


def log_mean_exp(scores: jax.Array) -> jax.Array:
    """Logarithm of the mean of exp(scores), `[M]` to a *scalar*; exact for scores of any size.

    Examples:
        >>> from ivg.losses import information
        >>> print(information.log_mean_exp(jnp.array([1000.0, 1000.0])))
        1000.0
    """
    # With the mean inside, equal scores give just their value: no ln M is added and taken away.
    # Without scores the mean is NaN, and so is the result.
    largest = jax.lax.stop_gradient(jnp.max(scores, initial=-jnp.inf))
    return largest + jnp.log(jnp.mean(jnp.exp(scores - largest)))


def label_negentropy(logits: jax.Array) -> jax.Array:
    """Negative entropy sum_i E_q(y_i|z) log q(y_i|z) of independent binary labels, nats, `[B]`.

    What CSVAE's autoencoder *minimises* so that z does not tell y (Klys et al., "Learning Latent
    Subspaces in Variational Autoencoders", NeurIPS 2018); q is trained by
    `label_cross_entropy`.

    Args:
        logits: Logits of q(y_i = 1|z), `[B, k]`.

    Returns:
        Between -k ln 2, where nothing is known, and 0; carries gradient, finite for any finite
        logits.

    Examples:
        >>> from ivg.losses import information
        >>> known, unknown = jnp.array([[40.0, -40.0]]), jnp.zeros((1, 2))
        >>> found = information.label_negentropy(jnp.concatenate([known, unknown]))
        >>> print(np.abs(found).round(3))
        [0.    1.386]
    """
    chex.assert_rank(logits, 2)
    present, absent = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    return jnp.sum(jax.nn.sigmoid(logits) * present + jax.nn.sigmoid(-logits) * absent, axis=-1)


def label_cross_entropy(y: jax.Array, logits: jax.Array) -> jax.Array:
    """Cross-entropy -sum_i log q(y_i|z) of independent binary labels, nats, per example `[B]`.

    Args:
        y: Labels, 0 or 1, `[B, k]`.
        logits: Logits of q(y_i = 1|z), `[B, k]`.

    Returns:
        The value, to be minimised by q; `logits` carry gradient (and so do labels of float type).

    Examples:
        >>> from ivg.losses import information
        >>> logits = jnp.array([[0.0, 20.0]])
        >>> print(np.asarray(information.label_cross_entropy(jnp.array([[1, 1]]), logits)).round(3))
        [0.693]
    """
    chex.assert_rank([y, logits], 2)
    chex.assert_equal_shape([y, logits])
    y = jnp.asarray(y, jnp.result_type(logits))
    return jnp.sum(y * jax.nn.softplus(-logits) + (1.0 - y) * jax.nn.softplus(logits), axis=-1)


def _entropy(p: jax.Array) -> jax.Array:
    # 0 ln 0 = 0, and with a finite slope: cells that no prediction reaches do occur.
    return -jnp.sum(p * jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny)))
