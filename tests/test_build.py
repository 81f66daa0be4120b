import importlib

import jax
import numpy as np
import optax
import pytest

from ivg import build
from ivg.errors import UserError


def config(method="infovaegan", data="digits", /, **changes):
    found = importlib.import_module(f"ivg.configs.{data}").get_config(method)
    found.update_from_flattened_dict(changes)
    return found.to_dict()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"method": "infovaegn"}, 'no method "infovaegn"; did you mean "infovaegan"'),
        ({"method": "infovaegan_joint"}, r"ivg:digits:infovaegan_joint"),
        ({"num_steps": 0}, "num_steps=0 must be at least 1"),
        ({"runs_at_once": 0}, "runs_at_once=0 must be at least 1"),
        ({"disentanglement.seeds": 0}, "disentanglement.seeds=0"),
        ({"disentanglement.metrics": "mgi"}, '"mgi", which is no metric'),
        ({"log_every": 0}, "log_every=0"),
        ({"checkpoint_every": -1}, "checkpoint_every=-1"),
        ({"eval_every": -1}, "eval_every=-1 must be at least 0"),
        ({"steps_per_dispatch": -1}, "steps_per_dispatch=-1"),
        ({"profile_steps": -1}, "profile_steps=-1"),
        ({"infovaegan.num_critic": 0}, "infovaegan.num_critic=0"),
        ({"infovaegan.dim_z": 0}, "infovaegan.dim_z=0"),
        ({"precision": "half"}, 'precision="half"'),
        ({"batch_size": 10}, "4 devices"),
        ({"data.name": "digitz"}, "digitz"),
        ({"data.in_memory": "maybe"}, "in_memory"),
        ({"attributes": ("Male",)}, "Male"),
        ({"infovaegan.network.name": "mpl"}, "mpl"),
        ({"infovaegan.optimizer.D.name": "sgd"}, 'no optimizer "sgd"'),
        ({"infovaegan.schedule": "staged"}, "generation_steps"),
        ({"attribute_scores.leak": "some"}, 'attribute_scores.leak="some".*use all or none'),
        ({"attribute_scores.estimates": 0}, "attribute_scores.estimates=0 must be at least 1"),
        ({"attribute_scores.mine_steps": 0}, "attribute_scores.mine_steps=0"),
        ({"attribute_scores.quick_steps": -1}, "quick_steps=-1 must be at least 0"),
        ({"attribute_scores.classifier_steps": 0}, "classifier_steps=0 must be at least 1"),
        ({"attribute_scores.max_images": 0}, "max_images=0 must be at least 1"),
        ({"data.num_images": 0}, "data.num_images=0 must be at least 1"),
    ],
)
def test_clear_errors(changes, words):
    with pytest.raises(UserError, match=words):
        build.build(config(**changes))


def test_roots_of_randomness_differ_and_follow_the_seed():
    first, again, other = (build.build(config(seed=s)) for s in (0, 0, 1))
    words = [
        tuple(jax.random.key_data(key).tolist())
        for run in (first, other)
        for key in (run.init_key, run.train_key, run.eval_key)
    ]
    assert len(set(words)) == 6
    assert (first.train_key == again.train_key).all()


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        (("",), ()),
        (("Eyeglasses",), ("Eyeglasses",)),
        (("Male,Eyeglasses",), ("Male", "Eyeglasses")),
        (("Male", " Eyeglasses"), ("Male", "Eyeglasses")),
    ],
)
def test_attribute_names(entries, names):
    assert build.attribute_names(entries) == names


@pytest.mark.parametrize(
    "method, field, value, least",
    [
        ("vae", "beta_steps", -1, 0),
        ("vae", "capacity", -0.5, 0),
        ("factorvae", "gamma", -1.0, 0),
        ("factorvae", "discriminator.depth", 0, 1),
        ("mixture_vae", "num_components", 0, 2),
        ("infogan_cr", "cr_weight", -1.0, 0),
        ("infogan_cr", "generator_steps", 0, 1),
    ],
)
def test_numbers_of_the_methods(method, field, value, least):
    with pytest.raises(UserError, match=f"{method}.{field}={value} must be at least {least}"):
        build.build(config(method, **{f"{method}.{field}": value}))


FACES = {"data.num_images": 70, "batch_size": 16}


def tiny_faces(method="mmvae", **changes):
    own = {"network.name": "mmvae64", "network.width": 0.0625, "dim_z": 3}
    if method != "r_cvae":
        own |= {"statistics.width": 4, "statistics.depth": 1}
    own = {f"{method}.{field}": value for field, value in own.items()}
    return config(method, "faces", **(FACES | own | changes))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"mmvae.weight_zc": -1.0}, "mmvae.weight_zc=-1.0 must be at least 0"),
        ({"mmvae.weight_cy": -0.5}, "mmvae.weight_cy=-0.5 must be at least 0"),
        ({"mmvae.statistics.depth": 0}, "mmvae.statistics.depth=0 must be at least 1"),
        ({"mmvae.epoch_steps": -1}, "mmvae.epoch_steps=-1 must be at least 0"),
        ({"mmvae.dim_z": 0}, "mmvae.dim_z=0 must be at least 1"),
        ({"mmvae.product": "third"}, 'product="third" is not a choice of mmvae; use "second" or'),
        ({"mmvae.gradient": "mine"}, 'gradient="mine" is not a choice of mmvae; use "plain" or'),
        ({"attributes": ("hat",)}, "'hat'"),
    ],
)
def test_clear_errors_of_the_methods_with_attributes(changes, words):
    with pytest.raises(UserError, match=words):
        build.build(tiny_faces(**changes))


@pytest.mark.parametrize("method", build.ATTRIBUTE_METHODS)
def test_data_without_attributes(method):
    """As of --config=configs/digits.py:mmvae: one sentence that says what to do."""
    with pytest.raises(UserError) as raised:
        build.build(config(method, "digits"))
    text = str(raised.value)
    assert text.startswith(f"{method} needs images with attributes, and digits has none: use faces")
    assert "--config.attributes=" in text
    assert "\n" not in text and ". " not in text and text.endswith(".")


@pytest.mark.parametrize("names, count", [("glasses", 1), ("glasses,beard", 2)])
def test_methods_take_the_attributes_of_the_data(names, count, capsys):
    for method in build.ATTRIBUTE_METHODS:
        run = build.build(tiny_faces(method, attributes=(names,)))
        assert run.dataset.attribute_names == tuple(names.split(","))
        assert run.method.num_attributes == count
        assert run.method.codes["c"].size == 2 * count
        printed = capsys.readouterr().out.splitlines()
        assert [line.split(":")[0] for line in printed] == names.split(",")
        assert all("of 87 images, H(y) = " in line for line in printed)  # of both splits
        assert run.dataset.train.attributes.shape == (70, count)


def rates(tx, steps: int) -> np.ndarray:
    """The learning rate of each step of Adam: how far it goes along a gradient of 1."""

    @jax.jit
    def all_steps():
        start = (tx.init(0.0), 0.0)

        def step(carry, _):
            update, state = tx.update(1.0, carry[0], carry[1])
            return (state, optax.apply_updates(carry[1], update)), -update

        return jax.lax.scan(step, jax.tree.map(jax.numpy.asarray, start), None, steps)[1]

    return np.asarray(all_steps())


def test_an_epoch_of_the_learning_rate_is_that_of_the_data(monkeypatch):
    """70 images in minibatches of 16: 4 steps; unless the config says how many."""
    made = []
    monkeypatch.setitem(build.METHODS, "mmvae", lambda **words: made.append(words))
    fixed = {f"mmvae.optimizer.{name}.learning_rate": 1e-5 for name in ("T_cy", "T_zy", "T_zc")}
    for steps in (0, 3):
        build.build(tiny_faces(**fixed, **{"mmvae.epoch_steps": steps}))
        tx = made[-1]["tx"]
        assert "epoch_steps" not in made[-1] and made[-1]["num_attributes"] == 1
        for player in ("E", "G"):
            epoch = steps or 4
            expected = [0.75 ** sum(t >= epoch * 2**i for i in range(5)) for t in range(14)]
            np.testing.assert_allclose(rates(tx[player], 14), 1e-3 * np.array(expected), rtol=1e-4)
        for player in ("T_cy", "T_zy", "T_zc"):
            np.testing.assert_allclose(rates(tx[player], 14), np.full(14, 1e-5), rtol=1e-4)


@pytest.mark.parametrize("num_images, epoch", [(0, 1), (7, 1), (8, 1), (15, 1), (16, 2), (33, 4)])
def test_an_epoch_has_at_least_one_step(monkeypatch, num_images, epoch):
    made = []
    monkeypatch.setitem(build.METHODS, "r_cvae", lambda **words: made.append(words))
    hyper = config("r_cvae", "faces")["r_cvae"]
    build.make_method(
        "r_cvae", image_shape=(64, 64, 3), batch_size=8, hyper=hyper, num_images=num_images
    )
    found = rates(made[0]["tx"]["E"], 6)
    expected = [0.75 ** sum(t >= epoch * 2**i for i in range(5)) for t in range(6)]
    np.testing.assert_allclose(found, 1e-3 * np.array(expected), rtol=1e-4)


def test_milestones_are_1_2_4_8_epochs():
    """The thesis' learning rate, by which it ends 1,000 epochs at 1e-3 * 0.75^10."""
    epoch = 234
    schedule = build.milestones(1e-3, 0.75, epoch)
    steps = [0, 1, epoch - 1]
    expected = [1.0] * 3
    for i in range(10):
        first, last = epoch * 2**i, epoch * 2 ** (i + 1) - 1
        steps += [first, first + 1, last]
        expected += [0.75 ** (i + 1)] * 3
    found = jax.jit(jax.vmap(schedule))(np.array(steps, np.int32))
    np.testing.assert_allclose(found, 1e-3 * np.array(expected), rtol=1e-5)
    assert float(schedule(1_000 * epoch)) == pytest.approx(5.6e-5, rel=0.01)


@pytest.mark.parametrize("epoch", [1, 234, 2**30])
def test_milestones_never_overflow(epoch):
    schedule = build.milestones(1.0, 0.5, epoch)
    assert float(schedule(0)) == float(schedule(epoch - 1)) == 1.0
    assert float(schedule(epoch)) == 0.5
    assert 0 < float(schedule(2**31 - 1)) <= 0.5
