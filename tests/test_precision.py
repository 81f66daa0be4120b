"""config.precision: training in bfloat16 goes as in float32, and keeps float32 only."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from sklearn.datasets import load_digits

from ivg import build, checkpoint, rundir, train
from ivg.configs import digits
from ivg.players import Labelled

BATCH, STEPS, KEY = 32, 30, jax.random.key(0)
IMAGES = (load_digits().images / 8.0 - 1.0).astype(np.float32)[..., None]
SHAPE = IMAGES.shape[1:]
CASES = {
    "factorvae": dict(network=dict(name="mlp", width=32), discriminator=dict(width=32, depth=2)),
    # Batch norm and the penalty's second derivatives; without convolutions and layer norm, where
    # noise of 2^-9 in float32 leads as far away within these steps as bfloat16 does (10 to 20 %).
    "wgan_gp": dict(network=dict(name="small28", width=0.1), num_critic=1),
}


def method(name, precision, **changes):
    """A method with the digits' section but for the changes."""
    return build.make_method(
        name,
        image_shape=SHAPE,
        batch_size=BATCH,
        hyper=digits.get_config(name).to_dict()[name] | changes,
        num_attributes=2,
        precision=precision,
    )


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """The same programs in half the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@functools.cache
def started(name):
    """One start for both: float32 whatever the precision."""
    return jax.jit(method(name, "float32", **CASES[name]).init)(KEY)


@functools.cache
def trained(name, precision):
    """State and curves {name: [steps]} of thirty steps."""
    made, rng = method(name, precision, **CASES[name]), np.random.default_rng(0)
    state, rows = started(name), []
    phase = made.phases[0]
    step = jax.jit(phase.step)
    for t in range(STEPS):
        xs = IMAGES[rng.integers(0, len(IMAGES), (phase.num_batches, BATCH))]
        state, metrics = step(state, xs, jax.random.key(t))
        rows.append(metrics)
    return state, {key: np.array([row[key] for row in rows]) for key in rows[0]}


@pytest.mark.parametrize(
    ("name", "curves"),
    [
        ("factorvae", ("G/log_likelihood", "E/kl", "E/total_correlation", "D/loss")),
        ("wgan_gp", ("D/wasserstein", "D/penalty", "G/adversarial")),
    ],
)
def test_training_curves_agree(name, curves):
    """To 5 % of the largest value: bfloat16 rounds by 0.4 %, at every layer and step."""
    wanted, found = trained(name, "float32")[1], trained(name, "bf16")[1]
    for curve in curves:
        a, b = wanted[curve], found[curve]
        scale = np.max(np.abs(a))
        assert np.ptp(a) > 0.1 * scale, (curve, a)  # there is something to follow
        np.testing.assert_allclose(b, a, rtol=0, atol=0.05 * scale, err_msg=curve)
        assert not np.array_equal(a, b), curve


@pytest.mark.parametrize("name", CASES)
def test_what_is_kept_and_logged_is_float32(name):
    made = method(name, "bf16", **CASES[name])
    state, curves = trained(name, "bf16")
    for other in (started(name), jax.eval_shape(made.init, KEY)):
        types = jax.tree.map(lambda leaf: leaf.dtype, other)
        assert types == jax.tree.map(lambda leaf: leaf.dtype, state)
    assert jnp.bfloat16 not in jax.tree.leaves(types)
    assert {curve.dtype for curve in curves.values()} == {np.dtype(np.float32)}
    codes = made.prior(state, KEY, 4)
    images = jax.eval_shape(made.generate, state, codes)
    assert images.dtype == jnp.float32 and images.shape == (4, *SHAPE)


def factors(jaxpr):
    """(dtype, shapes) of the factors of every matrix product, inner programs included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            a, b = (v.aval for v in equation.invars)
            yield a.dtype, (*a.shape, *b.shape)
        for inner in jaxprs_in_params(equation.params):
            yield from factors(inner)


def test_networks_of_information_bounds_stay_in_float32():
    width = 27  # of theirs alone
    statistics, network = dict(width=width, depth=2), dict(name="mlp", width=16)
    made = method("mmvae", "bf16", statistics=statistics, network=network)
    phase = made.phases[0]
    xs = np.zeros((phase.num_batches, BATCH, *SHAPE), np.float32)
    xs = Labelled(xs, np.zeros((phase.num_batches, BATCH, 2), np.float32))
    program = jax.make_jaxpr(phase.step)(jax.eval_shape(made.init, KEY), xs, KEY)
    found = list(factors(program.jaxpr))
    assert {dtype for dtype, shape in found if width in shape} == {np.dtype(np.float32)}
    assert np.dtype(jnp.bfloat16) in {dtype for dtype, shape in found if width not in shape}


def run(precision):
    config = importlib.import_module("ivg.configs.digits").get_config("vae").to_dict()
    config["vae"]["network"]["width"] = 16
    return config | {"precision": precision}


def test_a_run_goes_on_in_another_precision(tmp_path):
    """A checkpoint of float32 training is read bit for bit, by a step that is bfloat16's."""
    assert rundir.difference(run("float32"), run("bf16")) == []
    old, new = (build.build(run(precision)) for precision in ("default", "bf16"))
    state = jax.jit(old.method.init)(old.init_key)
    checkpoint.save(build.checkpoints(tmp_path), 7, state, keep=1)
    with jax.set_mesh(new.mesh):
        restored, step = train.restore(new, tmp_path)
    assert step == 7
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), jax.device_get(state))
    program = jax.make_jaxpr(new.method.phases[0].step)(restored, IMAGES[None, :64], KEY)
    assert np.dtype(jnp.bfloat16) in {dtype for dtype, _ in factors(program.jaxpr)}


@pytest.mark.parametrize(
    ("name", "products"),
    [("float32", "float32"), ("tf32", "tensorfloat32"), ("bf16", None), ("default", None)],
)
def test_matrix_products_of_float32(name, products):
    """What JAX's own setting becomes; on a CPU the products are float32 whatever it is."""
    before = jax.config.jax_default_matmul_precision
    try:
        build.build(run(name))
        assert (jax.config.jax_default_matmul_precision or "default") == (products or "default")
    finally:
        jax.config.update("jax_default_matmul_precision", before)
