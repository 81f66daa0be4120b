"""Random values of every field of every config: accepted ones trace, others are one sentence."""

import collections
import copy
import functools
import json
import pathlib

import asking
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivg import build, config_files, fields
from ivg.configs import base
from ivg.errors import UserError
from ivg.methods import ATTRIBUTE_METHODS
from ivg.players import Labelled
from ivg.rundir import flatten

NAMES = tuple(config_files.known())
METHODS = tuple(base.METHODS)
ATTRIBUTES = 2


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    folder: pathlib.Path = tmp_path_factory.mktemp("empty")
    with asking.asking(folder, "ivg.main") as found:
        yield found
    assert not asking.contents(folder)


@functools.cache
def names_of(ask: asking.Ask, source: str, method: str) -> tuple[str, ...]:
    """The fields of a config, as the command line has them."""
    answer = ask("ivg.main", [f"--config=ivg:{source}:{method}", "--workdir=w"])
    assert not asking.refused(answer)
    return tuple(flatten(json.loads(answer.out)))


def made(config: dict, shape: tuple[int, int, int] | None = None):
    """The method of a config, after all checks of `build` that need no data."""
    build.check(config)
    size = config["data"]["image_size"] or (8 if config["data"]["name"] == "digits" else 28)
    return build.make_method(
        config["method"],
        image_shape=shape or (size, size, 3),
        batch_size=config["batch_size"],
        hyper=config[config["method"]],
        num_attributes=ATTRIBUTES,
        num_images=1_000,
        precision=config["precision"],
    )


def trace(config: dict, shape: tuple[int, int, int]) -> None:
    """Traces the start and a step of each phase: the state keeps its form, metrics are scalars."""
    method, key = made(config, shape), jax.random.key(0)
    state = jax.eval_shape(method.init, key)
    for phase in method.phases:
        rows = (phase.num_batches, config["batch_size"])
        xs = jax.ShapeDtypeStruct((*rows, *shape), jnp.float32)
        if method.num_attributes:
            xs = Labelled(xs, jax.ShapeDtypeStruct((*rows, ATTRIBUTES), jnp.float32))
        after, metrics = jax.eval_shape(phase.step, state, xs, key)
        forms = (jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (state, after))
        assert jax.tree.all(jax.tree.map(lambda a, b: a == b, *forms))
        assert metrics and all(value.shape == () for value in metrics.values())


# ---- one field of any config --------------------------------------------------------------------

numbers = st.sampled_from(["-1", "0", "1", "2", "7", "64", "1000000000000", "-1000000000000"])
numbers |= st.sampled_from(["0.5", "1.0", "-0.5", "nan", "inf", "-inf", "1e400", "1e38", "1e-50"])
numbers |= st.sampled_from([str(2**31), str(2**63), "9" * 5_000, "0x10", "1_000", "1e3", "٣"])
numbers |= st.integers(-10, 10**13).map(str) | st.floats().map(str)
words = st.sampled_from(["", "True", "false", "None", "(1, 2)", "[]", "{}", "a,b", "mlp", "adam"])
words |= st.sampled_from(["ibgan64", "small28", "batch", "all", "none", "yes", "runs", "default"])
words |= st.sampled_from(["rollback", "bf16", "wandb", "staged", "gaussian", "²", "x" * 5_000])
words |= st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


def test_random_fields(amount, figure, ask):
    counts = collections.Counter()

    @settings(max_examples=amount(40, 1_000), deadline=None, derandomize=True, database=None)
    @given(
        st.sampled_from(NAMES),
        st.sampled_from(METHODS),
        st.lists(st.tuples(st.integers(0, 10**6), numbers | words), min_size=1, max_size=2),
    )
    def run(source, method, chosen):
        known = names_of(ask, source, method)
        flags = [f"--config.{known[place % len(known)]}={value}" for place, value in chosen]
        answer = ask("ivg.main", [f"--config=ivg:{source}:{method}", *flags, "--workdir=w"])
        counts["tried"] += 1
        if asking.refused(answer):
            counts["refused"] += 1
            return
        try:
            made(json.loads(answer.out))
        except UserError as error:
            counts["refused"] += 1
            assert "\n" not in str(error) and 20 < len(str(error)) < 1_000
        else:
            counts["accepted"] += 1

    run()
    assert counts["refused"] > 0.3 * counts["tried"] and counts["accepted"] > 0
    figure("command line", "values of fields tried", counts["tried"])
    figure("command line", "values refused with one sentence", counts["refused"])


# ---- what is accepted can be trained ------------------------------------------------------------

TINY = {
    "network": dict(name="mlp", width=4),
    "statistics": dict(width=4, depth=1),
    "discriminator": dict(width=4, depth=1),
    "num_components": 2,
    "num_critic": 1,
    "generator_steps": 1,
    "agreement_batches": 1,
    "num_heads": 1,
}
# Words that a method or the perceptrons know, beside some that they do not.
WORDS = {
    "likelihood": ["bernoulli", "gaussian", "normal"],
    "schedule": ["interleaved", "staged", "both"],
    "estimator": ["minibatch_weighted", "disentanglement_lib", "none"],
    "variant": ["i", "ii", "iii"],
    "permuted": ["same", "second", "third"],
    "dropout": ["bernoulli", "gaussian", "none", "uniform"],
    "product": ["second", "shuffled", "third"],
    "gradient": ["plain", "ema", "mine"],
    "code_prior": ["uniform", "normal", "laplace"],
    "network.generator_norm": ["none", "batch", "layer", "spectral"],
    "network.encoder_norm": ["none", "batch", "layer", "spectral"],
    "network.name": ["mlp", "mlp", "mpl"],
    "optimizer.name": ["adam", "adam", "sgd"],
}
# Of so much of a thing tracing takes too long here; their ends are tested by the checks alone.
SLOW = {"depth", "num_critic", "generator_steps", "agreement_batches", "num_heads"}
SLOW |= {"num_components"}


def tiny_of(method: str) -> dict:
    """A small config of the method on digits, as plain dicts."""
    config = json.loads(json.dumps(base.get_config(method).to_dict()))
    own = config[method]
    own |= {name: copy.deepcopy(value) for name, value in TINY.items() if name in own}
    config["batch_size"] = 4
    return config


def values_of(name: str, method: str):
    """Values of a field, mostly within its bounds and often at their ends."""
    wanted, last = fields.wanted(name, method), name.split(".")[-1]
    own = name.removeprefix(f"{method}.")
    if own.startswith("optimizer."):
        own = "optimizer." + last
    if own in WORDS:
        return st.sampled_from(WORDS[own])
    if isinstance(wanted, fields.Number) and wanted.whole:
        most = 3 if last in SLOW else 40
        ends = [wanted.least - 1, wanted.least] + ([] if last in SLOW else [wanted.most])
        return st.integers(int(wanted.least), int(wanted.least) + most) | st.sampled_from(ends)
    if isinstance(wanted, fields.Number):
        if own == "network.width":
            return st.sampled_from([1, 2.0, 8, 0.5, 0, 65_536])
        ends = [-1.0, wanted.least, wanted.most, 1, float("nan")]
        return st.floats(0.0, 2.0) | st.sampled_from(ends)
    return st.sampled_from(["", "x"])


def changeable(method: str) -> list[str]:
    """What changes the method itself."""
    own = flatten({method: tiny_of(method)[method]})
    return [*own, "batch_size", "precision"]


def put(config: dict, name: str, value: object) -> None:
    *sections, last = name.split(".")
    for section in sections:
        config = config[section]
    config[last] = value


@st.composite
def changed(draw):
    """A tiny config of some method, one to four fields of it changed."""
    method = draw(st.sampled_from(METHODS))
    config = tiny_of(method)
    chosen = st.lists(st.sampled_from(changeable(method)), min_size=1, max_size=4, unique=True)
    for name in draw(chosen):
        if name == "batch_size":
            value = draw(st.sampled_from([1, 2, 3, 8, 2**20]))
        elif name == "precision":
            value = draw(st.sampled_from(["default", "float32", "tf32", "bf16"]))
        else:
            value = draw(values_of(name, method))
        put(config, name, value)
    return config


def test_accepted_configs_trace(amount, figure):
    counts = collections.Counter()

    @settings(max_examples=amount(6, 40), deadline=None, derandomize=True, database=None)
    @given(changed())
    def run(config):
        counts["tried"] += 1
        shape = (16, 16, 3) if config["method"] in ATTRIBUTE_METHODS else (8, 8, 1)
        try:
            trace(config, shape)
        except UserError as error:
            assert "\n" not in str(error) and 20 < len(str(error)) < 1_000
        else:
            counts["traced"] += 1

    run()
    assert counts["traced"] > 0.2 * counts["tried"]
    figure("command line", "random configs tried", counts["tried"])
    figure("command line", "of them accepted, and so traced", counts["traced"])


# ---- the table ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_field_is_in_the_table(method):
    """So that a new one cannot be forgotten."""
    for name in flatten(base.get_config(method).to_dict()):
        assert fields.wanted(name, method) is not None, f"{name} is not in ivg/fields.py"
    for name in ("ngf", "ndf", "trunk", "init", "generator_norm", "encoder_norm"):
        assert fields.wanted(f"{method}.network.{name}", method) is not None


@pytest.mark.parametrize("method", METHODS)
def test_every_number_is_refused_beyond_its_ends(method):
    """Of every numeric field: nan, both sides of its bounds, and words."""
    tried = 0
    for name in flatten(tiny_of(method)):
        known = fields.wanted(name, method)
        wrong: list[object] = [None, {}, {"below": 1}, object()]
        if isinstance(known, fields.Number):
            step = 1 if known.whole else 0.001
            wrong += [known.least - step, float("nan"), float("inf"), "1", True, [1]]
            wrong += [known.least] * known.above + [known.most] * known.below
            wrong += [known.most * 2 + 1]
        for value in wrong:
            config = tiny_of(method)
            put(config, name, value)
            with pytest.raises(UserError) as raised:
                fields.check_method(config)
                fields.check(config)
                fields.check_complete(config, "train")
            assert name in str(raised.value) or name == "method", (name, value)
            tried += 1
    assert tried > 200
