"""Numbers that are not finite: found, traced, and gone back from; on games that cost nothing."""

import functools
import json
import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import unlucky

from ivg import build, checkpoint, guard, rollbacks, train, watch
from ivg.errors import UserError
from ivg.log import read_metrics
from ivg.players import Player, descend, player

TX = optax.sgd(0.1)


class Pair(NamedTuple):
    """Two players of two layers each."""

    G: Player
    D: Player


def pair(**changed) -> Pair:
    """All weights 1, unless `changed`, as in D_1=..., says otherwise."""

    def weights(name):
        return {f"Dense_{i}": {"kernel": jnp.asarray(changed.get(f"{name}_{i}", 1.0))}
                for i in range(2)}  # fmt: skip

    return Pair(player(weights("G"), {}, TX), player(weights("D"), {}, TX))


def net(params, x):
    """Two layers, in scopes as flax makes them; both players' networks are of one class."""
    with jax.named_scope("Net"):
        for name in ("Dense_0", "Dense_1"):
            with jax.named_scope(name):
                x = x * params[name]["kernel"]
    return x


def step(s: Pair, inputs, between=lambda x: x, last=lambda x: x, learning=TX):
    """D descends on what it gives for G's output."""

    def loss(g, d):
        return jnp.sum(last(net(d, between(net(g, inputs["x"])))))

    value, (g, d) = jax.value_and_grad(loss, (0, 1))(s.G.params, s.D.params)
    return Pair(descend(s.G, g, TX), descend(s.D, d, learning)), {"D/loss": value}


def cause(s: Pair, x=(1.0, 2.0), **how) -> watch.Cause | None:
    return watch.first_bad(functools.partial(step, **how), s, {"x": jnp.array(x)})


def test_a_finite_step_has_no_cause():
    assert cause(pair()) is None


def test_infinities_that_were_meant_are_passed_over():
    def masked(x):
        huge = jnp.exp(jax.lax.stop_gradient(1000.0 * jnp.abs(x)))
        hidden = jnp.where(jnp.array([True, False]), x, huge)
        return jnp.where(jnp.array([True, False]), hidden, 0.0) + jnp.max(x, initial=-jnp.inf)

    assert cause(pair(), last=masked) is None


@pytest.mark.parametrize("name", ["G", "D"])
@pytest.mark.parametrize("layer", [0, 1])
def test_the_first_layer_is_named_with_its_player(name, layer):
    found = cause(pair(**{f"{name}_{layer}": 3e38}))
    assert (found.kind, found.name, found.player) == ("layer", f"{name}/Dense_{layer}", name)
    assert found.place.startswith("mul") and not found.backward


def test_what_was_bad_before_is_named_by_its_path():
    found = cause(pair(D_1=np.nan))
    assert found == watch.Cause("input", "D/Dense_1/kernel", "D", False, "")
    assert cause(pair(), x=(1.0, np.inf)) == watch.Cause("input", "x", "", False, "")


def test_between_the_networks_in_a_loss_and_in_its_gradient():
    found = cause(pair(), between=lambda x: jnp.exp(100.0 * x))
    assert (found.kind, found.player) == ("output", "G") and found.place.startswith("exp")
    found = cause(pair(), last=lambda x: jnp.log(x - x))
    assert (found.kind, found.name, found.player) == ("term", "D/loss", "D")
    found = cause(pair(), last=lambda x: jnp.sqrt(x - x))  # 0, with a slope that is not finite
    assert found.kind == "term" and found.backward and "D/loss" not in found.name


def test_an_update_is_named_by_the_parameter():
    found = cause(pair(), learning=optax.sgd(3e38))
    assert (found.kind, found.name, found.player) == ("update", "D/Dense_0/kernel", "D")


def test_inner_steps_keep_the_names_and_loops_are_one_operation():
    def twice(s, inputs):
        s, _ = step(s, inputs)
        return step(
            s, inputs, last=lambda x: jax.lax.scan(lambda c, _: (c * 1e30, ()), x, None, 3)[0]
        )

    found = watch.first_bad(twice, pair(), {"x": jnp.ones(2)})
    assert found.kind == "term" and found.place.startswith("scan")
    grown = pair(D_0=1e25)  # the first inner step's update makes G's weights huge
    found = watch.first_bad(lambda s, i: step(step(s, i)[0], i), grown, {"x": 1e5 * jnp.ones(2)})
    assert found.kind == "layer" and found.name == "G/Dense_1"


def test_under_vmap_and_jit_the_layer_is_the_same():
    def batched(s, inputs):
        grads = jax.vmap(jax.grad(lambda d, x: jax.jit(net)(d, x)), (None, 0))(
            s.D.params, inputs["x"]
        )
        return s, {"D/loss": jnp.sum(grads["Dense_0"]["kernel"])}

    found = watch.first_bad(batched, pair(D_1=3e38), {"x": jnp.array([1.0, 2.0])})
    assert found.kind == "layer" and found.name == "D/Dense_0" and found.backward


def test_every_clause_is_one():
    for kind in ("input", "weights", "layer", "output", "term", "update"):
        for backward in (False, True):
            text = guard.clause(watch.Cause(kind, "D/x", "D", backward, "exp in f (a.py, line 1)"))
            assert text.count("\n") == 0 and text[-1] != "."
            assert ("gradient" in text) == (backward and kind != "input")
    assert "stays finite" in guard.clause(False)


# ---- in the loop --------------------------------------------------------------------------------


def assert_same(a, b) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def metrics_of(workdir) -> list[str]:
    return (workdir / "metrics.jsonl").read_text().splitlines()


def saved(workdir) -> list[int]:
    return checkpoint.steps(build.checkpoints(workdir))


@pytest.fixture(scope="module")
def lucky(tmp_path_factory):
    """An unlucky run that went back as often as it had to: (directory, state)."""
    workdir = tmp_path_factory.mktemp("lucky")
    state, step = unlucky.go(workdir)
    assert step == unlucky.CONFIG["num_steps"]
    return workdir, state


def test_the_sentence_says_where_it_began_and_the_last_checkpoint_is_kept(tmp_path, capsys):
    with pytest.raises(guard.NotFinite) as error:
        unlucky.go(tmp_path, on_nan="stop", log_every=100)
    text, failed = str(error.value), error.value.failure.step
    good = (failed - 1) // 5 * 5
    assert f"step {failed}: a loss of player G is not finite (G/loss = inf)" in text
    assert f"; the last good checkpoint is that of step {good}. Lower" in text
    assert "it began in the term G/loss, at " in text
    assert saved(tmp_path)[-1] == good and not (tmp_path / "rollbacks.json").exists()
    assert f"running the steps after step {good} again" in capsys.readouterr().out


@pytest.mark.parametrize("per_dispatch", [1, 4])
def test_the_step_is_found_within_a_dispatch(tmp_path, per_dispatch):
    how = {"on_nan": "stop", "log_every": 20, "checkpoint_every": 20}
    with pytest.raises(UserError, match=r"step 7: .*\(G/loss = inf\); it began in the term G/loss"):
        unlucky.go(tmp_path, unlucky.unlucky(1.0, 6), steps_per_dispatch=per_dispatch, **how)
    assert saved(tmp_path) == []


def test_what_does_not_happen_again_is_called_a_fault_of_the_machine(tmp_path, monkeypatch):
    """A bit that flips once: the loop sees a number that the replay does not."""
    noted, check = [], guard.check_finite

    def flip(finished, metrics, *rest):
        if finished == 6:
            noted.append(metrics)
            metrics = metrics | {"G/loss": np.array([np.nan])}
        check(finished, metrics, *rest)

    monkeypatch.setattr(guard, "check_finite", flip)
    healthy = unlucky.unlucky(0.0)
    with pytest.raises(UserError, match="run again stay finite: a fault .*The same command again"):
        unlucky.go(tmp_path, healthy, on_nan="stop")
    assert len(noted) == 1 and saved(tmp_path) == [5]


def test_a_state_that_only_a_checkpoint_would_show(tmp_path):
    """An optimiser that remembers infinity: the update is 0, and the losses are finite."""
    healthy = unlucky.unlucky(0.0)

    def poisoned(s, xs, key):
        s, metrics = healthy.step(s, xs, key)
        adam, *rest = s.G.opt_state
        nu = jnp.where(s.t == 7, jnp.inf, adam.nu)
        return s._replace(G=s.G._replace(opt_state=(adam._replace(nu=nu), *rest))), metrics

    method = healthy._replace(phases=(healthy.phases[0]._replace(step=poisoned),))
    with pytest.raises(guard.NotFinite) as error:
        unlucky.go(tmp_path, method, on_nan="stop")
    text = str(error.value)
    assert text.startswith("step 10: the optimiser's state of player G is not finite (G/opt_state")
    assert "run again, in step 7: it began in" in text and "that of step 5" in text
    assert saved(tmp_path) == [5]


def test_a_poisoned_checkpoint_is_said_to_be_one(tmp_path):
    healthy = unlucky.unlucky(0.0)
    state, step = unlucky.go(tmp_path, healthy, num_steps=5)
    state = state._replace(G=state.G._replace(params=state.G.params.at[0].set(jnp.nan)))
    checkpoint.save(build.checkpoints(tmp_path), 5, state, keep=3)
    with pytest.raises(
        UserError, match="step 5, where it went on, holds it already .G/params.*Delete"
    ):
        unlucky.go(tmp_path, healthy, on_nan="stop")


# ---- rollbacks ----------------------------------------------------------------------------------


def test_a_run_goes_back_and_finishes(lucky):
    workdir, _ = lucky
    past = rollbacks.read(workdir)
    assert len(past) >= 2 and [entry.number for entry in past] == [*range(1, len(past) + 1)]
    for entry in past:
        assert entry.step == (entry.failed - 1) // 5 * 5 < entry.failed
        assert f"step {entry.failed}: a loss of player G" in entry.why and "it began" in entry.why
    steps, losses = read_metrics(workdir)["G/loss"]
    assert steps.tolist() == [*range(1, 41)] and np.isfinite(losses).all()
    assert (read_metrics(workdir)["G/luck"][1] >= 0.06).all()


def test_the_keys_are_those_that_the_rollbacks_say(lucky):
    workdir, _ = lucky
    past, root = rollbacks.read(workdir), unlucky.make_run().train_key
    _, drawn = read_metrics(workdir)["G/luck"]
    for step in range(40):
        key = jax.random.fold_in(rollbacks.key_at(root, past, step), step)
        assert np.float32(drawn[step]) == np.float32(jax.random.uniform(key)), step


@pytest.mark.parametrize("moment", ["before it is written", "after", "between two checkpoints"])
def test_killed_amid_a_rollback_equals_never_killed(tmp_path, lucky, monkeypatch, moment):
    reference, expected = lucky

    class Killed(BaseException):
        """As good as kill -9: nothing after it is done."""

    with pytest.MonkeyPatch.context() as patch:
        write = rollbacks.write

        def killed(workdir, past):
            if moment == "after":
                write(workdir, past)
            raise Killed

        if moment == "between two checkpoints":
            failed = rollbacks.read(reference)[0].failed

            def save(folder, step, *rest, save=checkpoint.save, **how):
                if step > failed:
                    raise Killed
                save(folder, step, *rest, **how)

            patch.setattr(checkpoint, "save", save)
        else:
            patch.setattr(rollbacks, "write", killed)
        with pytest.raises(Killed):
            unlucky.go(tmp_path)
    state, _ = unlucky.go(tmp_path)
    assert_same(state, expected)
    assert rollbacks.read(tmp_path) == rollbacks.read(reference)
    assert metrics_of(tmp_path) == metrics_of(reference)


def test_a_damaged_checkpoint_after_a_rollback_changes_no_key(tmp_path, lucky):
    """The run goes on from before the rollback, and draws again what it drew."""
    reference, expected = lucky
    shutil.copytree(reference, tmp_path / "run")
    first = rollbacks.read(reference)[0].step
    for step in saved(tmp_path / "run"):
        if step >= first:
            shutil.rmtree(tmp_path / "run" / "checkpoints" / str(step))
    state, _ = unlucky.go(tmp_path / "run")
    assert_same(state, expected)
    assert metrics_of(tmp_path / "run") == metrics_of(reference)


def test_the_last_rollback_is_the_last(tmp_path, capsys):
    doomed = unlucky.unlucky(1.0, 7)  # whatever the key
    for _ in range(2):  # typed again: it has gone back often enough
        with pytest.raises(UserError, match="step 8: .* has gone back 2 times, see rollbacks.json"):
            unlucky.go(tmp_path, doomed, max_rollbacks=2)
    assert [entry.step for entry in rollbacks.read(tmp_path)] == [5, 5]
    assert saved(tmp_path) == [5]
    out = capsys.readouterr().out
    assert out.count("rollback 1 of at most 2: from step 5 on") == 1
    with pytest.raises(UserError, match="3 times"):
        unlucky.go(tmp_path, doomed, max_rollbacks=3)


def test_of_runs_trained_as_one_each_has_its_own_keys(tmp_path):
    seeds, runs = (0, 1), []
    first = unlucky.make_run()
    for seed in seeds:
        keys = dict(zip(("init_key", "train_key", "eval_key"), build.root_keys(seed), strict=True))
        runs.append(first._replace(**keys))
    configs = [unlucky.CONFIG | {"seed": seed, "num_steps": 25} for seed in seeds]
    folders = [tmp_path / str(seed) for seed in seeds]
    found = train.train_groups(runs, configs, folders, [None, None])
    assert [step for _, step in found] == [25, 25]
    for seed, folder in zip(seeds, folders, strict=True):
        alone = tmp_path / f"alone_{seed}"
        unlucky.go(alone, seed=seed, num_steps=25)
        words = [[tuple(entry)[:3] for entry in rollbacks.read(f)] for f in (folder, alone)]
        assert words[0] == words[1]
        ours, its = (read_metrics(f)["G/luck"][1] for f in (folder, alone))
        np.testing.assert_array_equal(ours, its)


def test_which_rollback_is_in_force():
    past = [rollbacks.Rollback(1, 9, 5, ""), rollbacks.Rollback(2, 17, 15, "")]
    assert [rollbacks.number_at(past, step) for step in (0, 4, 5, 14, 15, 99)] == [0, 0, 1, 1, 2, 2]
    past.append(rollbacks.Rollback(3, 18, 10, ""))  # further back: that of 15 counts no more
    assert [rollbacks.number_at(past, step) for step in (5, 10, 15, 99)] == [1, 3, 3, 3]


BAD_ENTRY = {"number": -1, "failed": 1, "step": 0, "why": ""}


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"number": 1}]', "[null]", [BAD_ENTRY]])
def test_a_damaged_list_of_rollbacks_is_one_sentence(tmp_path, text):
    (tmp_path / "rollbacks.json").write_text(text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(UserError, match="rollbacks.json cannot be read; put back a copy"):
        rollbacks.read(tmp_path)


def test_old_configs_stop():
    assert not rollbacks.allowed({}, [])
    assert not rollbacks.allowed({"on_nan": "stop", "max_rollbacks": 3}, [])
    assert rollbacks.allowed({"on_nan": "rollback", "max_rollbacks": 1}, [])
