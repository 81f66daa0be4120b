"""The vocabulary: a player's step against plain NumPy, a code's and a method's defaults, phases."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ivg.players import Code, Method, Phase, Player, ascend, descend, player

rng = np.random.default_rng(0)
PARAMS = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
GRADIENTS = [{k: rng.normal(size=v.shape) for k, v in PARAMS.items()} for _ in range(3)]
STATS = {"mean": np.float32([1.0, 2.0])}
RATE, MOMENTUM, DECAY = 0.1, 0.9, 0.01


def optimiser():
    """Reads all that it may: gradients, its own state (momentum), parameters (weight decay)."""
    return optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(RATE, momentum=MOMENTUM))


def float32(tree):
    return jax.tree.map(jnp.float32, tree)


def naive(sign):
    """Parameters and velocities, in float64: v <- m v + sign g + decay p; p <- p - rate v."""
    params = {k: v.copy() for k, v in PARAMS.items()}
    velocity = {k: np.zeros_like(v) for k, v in PARAMS.items()}
    for gradients in GRADIENTS:
        for k in params:
            velocity[k] = MOMENTUM * velocity[k] + sign * gradients[k] + DECAY * params[k]
            params[k] = params[k] - RATE * velocity[k]
    return params, velocity


@pytest.mark.parametrize(("move", "sign"), [(descend, 1), (ascend, -1)])
def test_steps_are_those_of_a_naive_loop(move, sign):
    tx = optimiser()
    step = jax.jit(lambda p, gradients: move(p, gradients, tx))
    p = start = player(float32(PARAMS), STATS, tx)
    for gradients in GRADIENTS:
        p = step(p, float32(gradients))
    params, velocity = naive(sign)
    for name in params:
        np.testing.assert_allclose(p.params[name], params[name], rtol=1e-5)
        np.testing.assert_array_equal(start.params[name], np.float32(PARAMS[name]))
    trace = p.opt_state[1][0].trace
    for name in velocity:
        np.testing.assert_allclose(trace[name], velocity[name], rtol=1e-5)
    assert jax.tree.structure(p) == jax.tree.structure(start)


@pytest.mark.parametrize("move", [descend, ascend])
def test_statistics_stay_unless_new_ones_are_given(move):
    tx = optimiser()
    p = player(float32(PARAMS), STATS, tx)
    assert move(p, float32(GRADIENTS[0]), tx).stats is STATS
    new = {"mean": np.float32([3.0, 4.0])}
    assert move(p, float32(GRADIENTS[0]), tx, new).stats is new
    assert move(p, float32(GRADIENTS[0]), tx, {}).stats == {}  # nothing is not the same as None


def test_a_player_starts_with_the_state_of_its_optimiser():
    tx = optimiser()
    p = player(PARAMS, STATS, tx)
    assert isinstance(p, Player) and p.params is PARAMS and p.stats is STATS
    for mine, fresh in zip(*map(jax.tree.leaves, (p.opt_state, tx.init(PARAMS))), strict=True):
        np.testing.assert_array_equal(mine, fresh)


def method(**others):
    """One that only has names."""
    phases = (Phase("first", 1, end=10), Phase("second", 2))
    return Method("init", phases, "encode", "generate", "prior", {}, **others)


def test_what_a_method_lacks_is_none():
    bare = method()
    given = ("init", "phases", "encode", "generate", "prior", "codes")
    others = {name: getattr(bare, name) for name in Method._fields if name not in given}
    numbers = {"encodes_after": 0, "num_attributes": 0}
    assert others == dict.fromkeys(others) | numbers
    assert bare.phases[0].end == 10 and bare.phases[-1].end is None
    assert bare.step == "first"


def test_a_method_has_learnt_nothing_to_encode_before_its_time():
    late = method(bounds="bounds", rates="rates", encodes_after=10)
    for step in (0, 9, 10):
        early = late.at(step)
        assert early.encode is None and early.bounds is None
        assert early == late._replace(encode=None, bounds=None)
    assert late.at(11) is late


def test_a_method_that_encodes_from_the_start_does_so_at_step_0():
    ready = method(bounds="bounds")
    assert ready.at(0) is ready and ready.at(1) is ready
    assert method(bounds="bounds", encodes_after=1).at(1).encode is None


def test_a_code_is_traversed_over_two_standard_deviations_of_the_prior():
    code = Code("continuous", 3)
    assert (code.low, code.high) == (-1.0, 1.0) and code.prior == "N(0, 1)"
