"""Trainings that collapse raise their alarm, with its numbers; healthy ones none."""

import json

import jax
import jax.numpy as jnp
import optax

from ivg import alarms, build, train
from ivg.configs import digits
from ivg.methods import METHODS

GROUP = "numbers"
STEPS, FEW = 2_100, 1_600  # more than any patience; than that of the first case
SMALL = {"network": dict(name="mlp", width=32), "num_critic": 1}


def trained(workdir, method: str, frozen: tuple[str, ...] = (), spoil=lambda state: state,
            steps: int = STEPS, **own):  # fmt: skip
    """Trains a small one on the digits, `frozen` players not at all: (state, run, warnings)."""
    config = digits.get_config(method).to_dict()
    config |= {"num_steps": steps, "batch_size": 32, "steps_per_dispatch": 100, "log_every": 100}
    config |= {"eval_every": 0, "checkpoint_every": 100_000}
    section = config[method]
    section |= {name: value for name, value in SMALL.items() if name in section} | own
    config = json.loads(json.dumps(config))
    run = build.build(config)
    if frozen:
        hyper = dict(section)
        tx = {player: optax.set_to_zero() if player in frozen
              else build.optimizer(**{n: v for n, v in spec.items() if n != "epoch_steps"})
              for player, spec in hyper.pop("optimizer").items()}  # fmt: skip
        made = METHODS[method](image_shape=(8, 8, 1), batch_size=32, tx=tx, **hyper)
        run = run._replace(method=made)
    init = run.method.init
    run = run._replace(method=run.method._replace(init=lambda key: spoil(init(key))))
    ((state, _),) = train.train_groups([run], [config], [workdir], [None])
    return state, run


def without(player: str):
    """A state whose player has weights of 0."""

    def spoil(state):
        one = getattr(state, player)
        zeros = jax.tree.map(jnp.zeros_like, one.params)
        return state._replace(**{player: one._replace(params=zeros)})

    return spoil


COLLAPSED = {
    "the KL of every code is 0": lambda d: trained(d, "beta_vae", steps=FEW, beta=1e4),
    "the discriminator makes no mistake": lambda d: trained(d, "gan", frozen=("G",)),
    "the critic has no gradient": lambda d: trained(d, "wgan_gp", ("D",), without("D")),
    "generated images tell nothing": lambda d: trained(d, "infogan", ("Q",), without("Q")),
}


def test_collapsed_trainings_raise_their_alarm(tmp_path, capsys, amount, figure):
    raised = 0
    for number, words in enumerate(list(COLLAPSED)[: amount(1, len(COLLAPSED))]):
        COLLAPSED[words](tmp_path / str(number))
        said = [line for line in capsys.readouterr().out.splitlines() if words in line]
        assert len(said) == 1, (words, said)  # once, though it lasts
        assert said[0].startswith("warning: step ") and "since step" in said[0]
        raised += 1
    figure(GROUP, "collapsed trainings that raised their alarm", raised)


def test_healthy_trainings_raise_none(tmp_path, capsys, amount, figure):
    names = ("vae", "gan", "wgan_gp", "infovaegan")
    trained_well = 0
    for name in names[: amount(1, len(names))]:
        state, run = trained(tmp_path / name, name, steps=amount(FEW, STEPS))
        assert "warning" not in capsys.readouterr().out, name
        ratio = alarms.diversity(run.method, state, run.dataset, jax.random.key(0))
        assert alarms.sameness(run.method, 0.5 * ratio, STEPS) is None, (name, ratio)
        trained_well += 1
    figure(GROUP, "healthy trainings that raised no alarm", trained_well)


def test_a_generator_that_ignores_its_input_is_noticed(tmp_path, amount, figure):
    noticed = 0
    for name in ("wgan_gp", "vae", "gan", "ibgan")[: amount(1, 4)]:
        config = digits.get_config(name).to_dict()
        config[name] |= {n: v for n, v in SMALL.items() if n in config[name]}
        run = build.build(json.loads(json.dumps(config)))
        state = without("G")(jax.jit(run.method.init)(run.init_key))
        ratio = alarms.diversity(run.method, state, run.dataset, jax.random.key(0))
        assert ratio < 1e-3 and "ignores its input" in alarms.sameness(run.method, ratio, 5_000)
        noticed += 1
    figure(GROUP, "generators that ignore their input, noticed", noticed)
