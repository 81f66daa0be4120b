"""The loop, mostly on a game that compiles in no time; the real methods where it counts."""

import contextlib
import functools
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ivg import build, calls, checkpoint, data, devices, dispatch, guard, rundir, train
from ivg.errors import UserError
from ivg.log import Log, read_metrics
from ivg.methods import METHODS
from ivg.players import Code, Method, Phase, Player, descend, player

BATCH, SHAPE = 8, (4, 4, 1)
IMAGES = np.random.default_rng(0).integers(0, 256, (30, *SHAPE), np.uint8)
CONFIG = {
    "method": "toy",
    "seed": 0,
    "num_steps": 12,
    "batch_size": BATCH,
    "log_every": 2,
    "eval_every": 0,
    "checkpoint_every": 4,
    "keep_checkpoints": 10,
    "steps_per_dispatch": 1,
    "profile_steps": 0,
    "eval_images": 10,
    "disentanglement": {"quick_votes": 0},
}


class Toy(NamedTuple):
    G: Player
    t: jax.Array


@functools.cache
def toy(*, end: int | None = None, blow_up: int = -1) -> Method:
    """Follows the mean image, with noise; from step `end` on in another phase, without images."""
    tx = optax.adam(1e-2)

    def init(key):
        return Toy(player(jax.random.normal(key, SHAPE), {}, tx), jnp.int32(0))

    def follow(s, xs, key):
        noise = 0.1 * jax.random.normal(key, SHAPE)
        loss, grads = jax.value_and_grad(
            lambda w: jnp.mean((w + noise - jnp.mean(xs, axis=(0, 1))) ** 2)
        )(s.G.params)
        loss = jnp.where(s.t == blow_up, jnp.inf, loss)
        return Toy(descend(s.G, grads, tx), s.t + 1), {"G/loss": loss, "G/t": s.t * 1.0}

    def drift(s, xs, key):
        loss = jnp.mean(jax.random.normal(key, SHAPE) * s.G.params)
        return Toy(s.G._replace(params=s.G.params * 0.9), s.t + 1), {"G/drift": loss}

    phases = (Phase(follow, 2),) if end is None else (Phase(follow, 2, end), Phase(drift, 0))
    return Method(
        init=init,
        phases=phases,
        encode=None,
        generate=lambda s, codes: jnp.tanh(s.G.params)[None] + codes["z"][:, :1, None, None],
        prior=lambda state, key, n: {"z": jax.random.normal(key, (n, 2))},
        codes={"z": Code("noise", 2)},
    )


def counted(method: Method) -> tuple[Method, list]:
    """The method with only its first phase, and a list that grows whenever that is traced."""
    traced, phase = [], method.phases[0]

    def step(state, xs, key):
        traced.append(xs.shape)
        return phase.step(state, xs, key)

    return method._replace(phases=(phase._replace(step=step),)), traced


@pytest.fixture(autouse=True)
def quick_compilation():
    """The same programs in half the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True)
def dispatches(monkeypatch):
    """Runs of one method share their dispatch, as compiling is what takes the time here."""
    make, readers = functools.cache(dispatch.make_dispatch), {}
    monkeypatch.setattr(calls, "make_dispatch", lambda step, read: make(step, read))
    monkeypatch.setattr(  # one for all arrays, one for all streamed images
        calls, "reader", lambda images: readers.setdefault(type(images), dispatch.reader(images))
    )


def make_run(method: Method, images=IMAGES, num_devices: int | None = None) -> build.Run:
    split = data.Split(images, None, None)
    dataset = data.Dataset("toy", split, split, images.shape[1:])
    keys = jax.random.split(jax.random.key(0), 3)
    return build.Run(method, dataset, devices.make_mesh(num_devices), *keys)


def go(run: build.Run, workdir: pathlib.Path, stop=False, **changes):
    """Trains as `train.train` does, from the last checkpoint. Returns (state, step)."""
    config = CONFIG | changes
    with jax.set_mesh(run.mesh):
        state, step = train.restore(run, workdir)
        with contextlib.closing(Log(workdir, resume_step=step or None)) as log:
            return train.loop(run, config, workdir, log, state, step, stop)


def assert_same(a, b) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def assert_close(a, b, rtol=1e-4, atol=1e-5) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


PHASES = (Phase(None, 5, end=10), Phase(None, 1, end=14), Phase(None, 0))


@pytest.mark.parametrize(
    "step, phase, batches",
    [(0, 0, 0), (1, 0, 5), (9, 0, 45), (10, 1, 50), (13, 1, 53), (14, 2, 54), (99, 2, 54)],
)
def test_phases_and_their_batches(step, phase, batches):
    assert dispatch.phase_at(PHASES, step) == phase
    assert dispatch.first_batch(PHASES, step) == batches


@pytest.mark.parametrize(
    "step, end, per_dispatch, every, stop",
    [
        (0, None, 1, (100, 0, 100), 1),
        (0, None, 20, (100, 0, 100), 20),
        (20, None, 20, (30, 0, 100), 30),  # the log is due
        (30, None, 20, (30, 0, 100), 40),  # dispatches end at multiples, whatever came between
        (80, None, 50, (100, 90, 100), 90),  # the evaluation is due
        (80, None, 50, (100, 0, 85), 85),  # the checkpoint is due
        (80, 83, 50, (100, 0, 100), 83),  # the phase ends
        (990, None, 50, (100, 0, 100), 1000),
        (1000, None, 50, (100, 0, 100), 1003),  # the run ends
    ],
)
def test_next_stop(step, end, per_dispatch, every, stop):
    assert dispatch.next_stop(step, (1003, end), (*every, per_dispatch)) == stop


def test_check_finite_names_step_player_and_term():
    good = {"G/a": np.ones(3), "D/b": np.ones(3), "finite/G": np.ones(3, bool)}
    guard.check_finite(7, good, "m", "no checkpoint yet")
    with pytest.raises(UserError) as error:
        guard.check_finite(7, good | {"D/b": np.array([1, np.nan, np.inf])}, "m", "kept")
    text = str(error.value)
    assert text.startswith("step 9: a loss of player D is not finite (D/b = nan); kept. ")
    assert "--config.m.optimizer.D.learning_rate" in text
    bad = good | {"finite/G": np.array([True, True, False])}
    with pytest.raises(UserError, match=r"step 10: an update of player G .*\(G/a = 1\); kept"):
        guard.check_finite(7, bad, "m", "kept")


def test_loop_logs_saves_and_traces_once(tmp_path):
    method, traced = counted(toy())
    state, step = go(make_run(method), tmp_path, num_steps=10, log_every=3)
    assert step == 10 and int(state.t) == 10
    assert traced == [(2, BATCH, *SHAPE)]
    assert checkpoint.steps(build.checkpoints(tmp_path)) == [4, 8, 10]
    steps, values = read_metrics(tmp_path)["G/t"]
    assert steps.tolist() == [3, 4, 6, 8, 9, 10]
    assert values.tolist() == [1, 3, 4.5, 6.5, 8, 9]  # means over the steps since the last line


def test_stopped_and_resumed_equals_never_stopped(tmp_path):
    """At every kind of step: at a checkpoint, between two, in each phase."""
    whole = go(make_run(toy(end=7)), tmp_path / "whole")
    for steps in (1, 4, 6, 7, 9):
        workdir = tmp_path / str(steps)
        go(make_run(toy(end=7)), workdir, num_steps=steps)
        assert_same(go(make_run(toy(end=7)), workdir), whole)


def test_a_signal_at_any_moment_is_followed_by_a_checkpoint(tmp_path):
    class Later:
        """A Stop that is set while it is asked for the n-th time."""

        def __init__(self, n):
            self.left = n

        def __bool__(self):
            self.left -= 1
            return self.left < 0

    for n in range(4):
        workdir = tmp_path / str(n)
        _, step = go(make_run(toy()), workdir, stop=Later(n), checkpoint_every=100)
        assert 0 < step < CONFIG["num_steps"]
        assert checkpoint.latest_step(build.checkpoints(workdir)) == step


def test_not_finite_stops_before_it_is_saved(tmp_path):
    with pytest.raises(UserError, match="step 6: a loss of player G .*G/loss = inf.* of step 4"):
        go(make_run(toy(blow_up=5)), tmp_path, log_every=100)
    assert checkpoint.steps(build.checkpoints(tmp_path)) == [4]


def test_streamed_images_equal_resident_ones(tmp_path):
    resident = go(make_run(toy(end=7)), tmp_path / "resident", steps_per_dispatch=2)
    lazy = data.LazyImages(lambda i: IMAGES[i], len(IMAGES), SHAPE)
    streamed = go(make_run(toy(end=7), lazy), tmp_path / "streamed", steps_per_dispatch=2)
    assert_same(streamed, resident)
    go(make_run(toy(end=7), lazy), tmp_path / "resumed", steps_per_dispatch=2, num_steps=4)
    assert_same(
        go(make_run(toy(end=7), lazy), tmp_path / "resumed", steps_per_dispatch=2), resident
    )


def test_steps_per_dispatch_and_number_of_devices_change_nothing(tmp_path):
    one = go(make_run(toy(end=7)), tmp_path / "one")
    for k in (3, 12):
        several = go(make_run(toy(end=7)), tmp_path / f"{k}", steps_per_dispatch=k)
        assert_close(several, one)
    assert_close(go(make_run(toy(end=7), num_devices=1), tmp_path / "device"), one)


def test_evaluation_in_the_middle_does_not_touch_the_training(tmp_path):
    quiet = go(make_run(toy()), tmp_path / "quiet")
    assert_same(go(make_run(toy()), tmp_path / "evaluated", eval_every=4), quiet)


def test_images_other_than_those_it_began_with_are_noticed(tmp_path, capsys):
    for images, said in ((IMAGES, ""), (IMAGES, ""), (IMAGES[:20], "num_images: 30 -> 20"),
                         (IMAGES[:20], "")):  # fmt: skip
        train.claim(make_run(toy(), images), [CONFIG], [tmp_path])
        words = f"its data are not those that it began with ({said}); it goes on with them"
        assert capsys.readouterr().out == (f"warning: {tmp_path}: {words}\n" if said else "")
    (tmp_path / "data.json").write_text("{")  # damaged: written anew
    train.claim(make_run(toy()), [CONFIG], [tmp_path])
    assert capsys.readouterr().out == "" and rundir.read_facts(tmp_path).num_images == 30


def real(name: str) -> Method:
    """Momentum, not Adam, which would blow up the rounding of gradients that are nearly 0."""
    players = ("G", "D", "q_u", "elbo", "q_z")
    sizes = {"dim_z": 2, "dim_c": 1, "num_classes": 3, "network": {"name": "mlp", "width": 8}}
    if name == "infovaegan":
        sizes["num_critic"] = 1
    tx = {p: optax.sgd(1e-3, momentum=0.9) for p in players}
    return METHODS[name](image_shape=SHAPE, batch_size=BATCH, tx=tx, **sizes)


@pytest.mark.parametrize("name", ["infovaegan", "infovaegan_joint"])
def test_real_methods_save_restore_and_go_on_bit_for_bit(name, tmp_path):
    """Traced once, before and after; and one device equals four."""
    method, traced = counted(real(name))
    run = make_run(method)
    whole = go(run, tmp_path / "whole", num_steps=6)
    go(run, tmp_path / "resumed", num_steps=3)
    resumed = go(run, tmp_path / "resumed", num_steps=6)
    assert resumed[1] == 6
    assert_same(resumed, whole)
    assert len(traced) == 1
    if name == "infovaegan":
        one_device = go(make_run(method, num_devices=1), tmp_path / "one", num_steps=6)
        assert_close(one_device, whole)
