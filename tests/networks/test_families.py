"""What every family promises, on narrow versions of it."""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg import networks
from ivg.errors import UserError
from ivg.networks import FAMILIES, Family, Network

BATCH, LATENTS, CODES, SIZES = 4, 12, 5, (3, 2, 2)

# Almost all the time here is the compiler's: ask it for quick compilation instead of fast code.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

# name, options, size of the tests that compute, further sizes of which only shapes are tested
CASES = {
    "mlp": ("mlp", {"width": 16}, (8, 8, 1), [(28, 28, 1), (32, 32, 3)]),
    "mlp-batch-norm": (
        "mlp",
        {"width": 16, "generator_norm": "batch", "encoder_norm": "batch"},
        (8, 8, 1),
        [],
    ),
    "mlp-layer-norm": (
        "mlp",
        {"width": 16, "generator_norm": "layer", "encoder_norm": "layer"},
        (8, 8, 1),
        [],
    ),
    "small28": ("small28", {"width": 0.125}, (8, 8, 1), [(28, 28, 1), (32, 32, 3)]),
    "infogan28": ("infogan28", {"width": 0.125}, (8, 8, 1), [(28, 28, 1), (32, 32, 3)]),
    "infogancr64": ("infogancr64", {"width": 0.25}, (16, 16, 1), [(32, 32, 3), (64, 64, 1)]),
    "infovaegan64": ("infovaegan64", {"width": 0.125}, (32, 32, 1), [(32, 32, 3), (64, 64, 3)]),
}
PARTS = ("generator", "encoder", "critic", "joint_discriminator")
every_case = pytest.mark.parametrize("case", CASES)
every_part = pytest.mark.parametrize("part", PARTS)


class Built(NamedTuple):
    net: Network
    params: Any
    stats: Any
    inputs: tuple[np.ndarray, ...]


def family(case: str) -> Family:
    name, options, _, _ = CASES[case]
    return FAMILIES[name](**options)


def make(family: Family, part: str, image_shape: tuple[int, int, int]) -> Network:
    arguments = {"generator": (image_shape,), "encoder": (SIZES,)}
    return getattr(family, part)(*arguments.get(part, ()))


def inputs(part: str, image_shape: tuple[int, int, int]) -> tuple[np.ndarray, ...]:
    # NumPy, here and below: every eager jax operation on a new shape is one more compilation.
    rng = np.random.default_rng(1)
    images = rng.uniform(-1, 1, (BATCH, *image_shape)).astype(np.float32)
    latents = rng.normal(size=(BATCH, LATENTS)).astype(np.float32)
    codes = rng.normal(size=(BATCH, CODES)).astype(np.float32)
    return {"generator": (latents,), "joint_discriminator": (images, codes)}.get(part, (images,))


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def weights(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    """Random kernels, gains and variances 1, biases and means 0: quicker than compiling `init`."""
    if path[-1].key == "kernel":
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return np.random.default_rng(0).normal(0, scale, leaf.shape).astype(leaf.dtype)
    return np.full(leaf.shape, path[-1].key in ("scale", "var"), leaf.dtype)


@cache
def built(case: str, part: str) -> Built:
    image_shape = CASES[case][2]
    net, x = make(family(case), part, image_shape), inputs(part, image_shape)
    shapes = jax.eval_shape(net.init, jax.random.key(0), *x)
    params, stats = jax.tree_util.tree_map_with_path(weights, shapes)
    return Built(net, params, stats, x)


def has_batch_norm(case: str, part: str) -> bool:
    if case.startswith("mlp"):
        return case == "mlp-batch-norm" and part in ("generator", "encoder")
    if part == "joint_discriminator":
        return case not in ("small28", "infogancr64")
    return part != "critic"


@every_part
@every_case
def test_shapes_of_every_size(case: str, part: str) -> None:
    _, _, image_shape, more = CASES[case]
    for shape in (image_shape, *more):
        net, x = make(family(case), part, shape), inputs(part, shape)
        params, stats = jax.eval_shape(net.init, jax.random.key(0), *x)
        outputs, new_stats = jax.eval_shape(net.train, params, stats, *x)
        expected = {
            "generator": (BATCH, *shape),
            "encoder": tuple((BATCH, size) for size in SIZES),
        }.get(part, (BATCH,))
        found = jax.tree.map(lambda y: y.shape, outputs)
        assert found == expected
        assert (
            jax.tree.map(lambda y: y.shape, jax.eval_shape(net.infer, params, stats, *x)) == found
        )
        assert new_stats == stats
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((params, outputs)))


@every_part
@every_case
def test_infer_treats_every_example_alone(case: str, part: str) -> None:
    net = built(case, part)
    infer = jit(net.net.infer)
    whole = infer(net.params, net.stats, *net.inputs)
    # Other neighbours: the outputs for the first two stay.
    changed = (np.concatenate([x[:2], -x[2:]]) for x in net.inputs)
    other = infer(net.params, net.stats, *changed)
    for a, b in zip(*map(leaves, (whole, other)), strict=True):
        np.testing.assert_array_equal(a[:2], b[:2])
        assert np.abs(a[2:] - b[2:]).max() > 0


@every_part
@every_case
def test_train_moves_running_averages_with_momentum_0p9(case: str, part: str) -> None:
    net = built(case, part)
    if not has_batch_norm(case, part):
        assert net.stats == {}
        return
    train = jit(net.net.train)
    _, first = train(net.params, net.stats, *net.inputs)
    _, second = train(net.params, first, *net.inputs)
    # r' = 0.9 r + 0.1 b, so on the same batch every move is 0.9 times the one before.
    for old, new, newer in zip(*map(leaves, (net.stats, first, second)), strict=True):
        assert np.abs(new - old).max() > 1e-5
        np.testing.assert_allclose(newer - new, 0.9 * (new - old), rtol=1e-4, atol=1e-6)


@every_case
def test_generator_starts_alive_and_inside_the_range(case: str) -> None:
    net = family(case).generator(CASES[case][2])
    latents = np.random.default_rng(2).normal(size=(64, LATENTS)).astype(np.float32)

    def first_images(key: jax.Array) -> jax.Array:
        return net.train(*net.init(key, latents), latents)[0]

    # XLA's own random numbers compile sooner than JAX's default ones.
    images = np.asarray(jit(first_images)(jax.random.key(0, impl="rbg")))
    assert np.abs(images).max() <= 1
    assert 0.02 < images.std() < 0.9
    assert images.std(axis=0).min() > 0.005, "a pixel that no latent moves"


@every_case
def test_critic_scores_each_image_alone_in_training_too(case: str) -> None:
    net = built(case, "critic")
    assert net.stats == {}

    def first_score(images: jax.Array) -> jax.Array:
        return net.net.train(net.params, net.stats, images)[0][0]

    gradient = np.asarray(jit(jax.grad(first_score))(*net.inputs))
    assert np.abs(gradient[0]).max() > 0
    np.testing.assert_array_equal(gradient[1:], 0)


@pytest.mark.parametrize("case", ["mlp", "infogan28", "infovaegan64"])
def test_gradient_penalty_is_differentiable_through_the_critic(case: str) -> None:
    net = built(case, "critic")

    def penalty(params: Any, images: jax.Array) -> jax.Array:
        gradient = jax.grad(lambda x: net.net.infer(params, net.stats, x).sum())(images)
        norm = jnp.sqrt(jnp.sum(gradient**2, axis=(1, 2, 3)) + 1e-12)
        return jnp.mean((norm - 1) ** 2)

    second = jit(jax.grad(penalty))
    # A constant image gives layer norm a variance of exactly 0 (biases start at 0).
    for images in (*net.inputs, np.zeros_like(net.inputs[0])):
        gradients = leaves(second(net.params, images))
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        assert max(np.abs(gradient).max() for gradient in gradients) > 0


@every_case
def test_joint_discriminator_sees_image_and_code(case: str) -> None:
    net = built(case, "joint_discriminator")

    def total(images: jax.Array, codes: jax.Array) -> jax.Array:
        return net.net.infer(net.params, net.stats, images, codes).sum()

    for gradient in leaves(jit(jax.grad(total, argnums=(0, 1)))(*net.inputs)):
        assert np.abs(gradient).max() > 0


@every_case
def test_joint_discriminator_tells_batches_apart_by_their_mean_logit(case: str) -> None:
    """Real and generated pairs come in batches of their own: no norm may take their means away."""
    net = built(case, "joint_discriminator")
    images, codes = net.inputs
    train = jit(lambda x, u: net.net.train(net.params, net.stats, x, u)[0].mean())
    means = [train(images, codes), train(0.1 * images**2, codes + 1.0)]
    assert abs(means[0] - means[1]) > 1e-3


@every_part
@every_case
def test_no_bias_before_batch_norm(case: str, part: str) -> None:
    """Its exact gradient is 0; see the docstring of `ivg.networks.blocks`."""
    net = built(case, part)
    # Where the nonlinearity comes between, as in infogancr64, a bias has an effect.
    if not has_batch_norm(case, part) or case == "infogancr64":
        return
    layers = [name for name in net.params if "Norm" not in name]
    norms = [name for name in net.params if "BatchNorm" in name]
    without_bias = [name for name in layers if "bias" not in net.params[name]]
    assert len(without_bias) == len(norms) > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_options_are_checked(name: str) -> None:
    with pytest.raises(UserError, match="width must be positive, not 0"):
        FAMILIES[name](width=0)
    with pytest.raises(TypeError):
        FAMILIES[name](64)


@pytest.mark.parametrize("case", ["mlp", "infogan28", "infovaegan64"])
def test_generator_refuses_what_check_refuses(case: str) -> None:
    with pytest.raises(UserError, match="image_size"):
        family(case).generator((99, 99, 1))


def test_family_by_name():
    assert isinstance(networks.family("mlp", width=8), Family)
    with pytest.raises(UserError, match='no network family "mpl" for this method: use mlp, small'):
        networks.family("mpl")
    with pytest.raises(UserError, match='the mlp networks have no option "depth": use width'):
        networks.family("mlp", depth=3)
