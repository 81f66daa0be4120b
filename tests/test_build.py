import importlib

import jax
import pytest

from ivg import build
from ivg.errors import UserError


def config(method="infovaegan", data="digits", /, **changes):
    found = importlib.import_module(f"configs.{data}").get_config(method)
    found.update_from_flattened_dict(changes)
    return found.to_dict()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"method": "infovaegn"}, 'no method "infovaegn"; did you mean "infovaegan"'),
        ({"method": "infovaegan_joint"}, r"configs/digits.py:infovaegan_joint"),
        ({"num_steps": 0}, "num_steps=0 must be at least 1"),
        ({"runs_at_once": 0}, "runs_at_once=0 must be at least 1"),
        ({"disentanglement.seeds": 0}, "disentanglement.seeds=0"),
        ({"disentanglement.metrics": "mgi"}, '"mgi", which is no metric'),
        ({"log_every": 0}, "log_every=0"),
        ({"checkpoint_every": -1}, "checkpoint_every=-1"),
        ({"eval_every": -1}, "eval_every=-1 must be at least 0"),
        ({"steps_per_dispatch": -1}, "steps_per_dispatch=-1"),
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
