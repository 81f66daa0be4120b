"""Every method's page can be written: no training ends without one."""

import functools

import jax
import numpy as np
import pytest
import test_every_method
from tiny_models import filled, quick_settings

from ivg import data, devices
from ivg.methods import METHODS
from ivg.report import page


@functools.cache
def dataset(attributes: bool) -> data.Dataset:
    """The digits, with two attributes at random where they are wanted."""
    found = data.load("digits")
    if not attributes:
        return found
    values = np.random.default_rng(0).integers(0, 2, (len(found.test.images), 2)).astype(bool)
    return found._replace(
        test=found.test._replace(attributes=values), attribute_names=("hat", "scarf")
    )


@pytest.mark.parametrize("name", METHODS)
def test_its_page(name, tmp_path):
    method, mesh = test_every_method.make(name), devices.make_mesh()
    config = {"method": name, "num_steps": 30, "seed": 0}
    with quick_settings(), jax.set_mesh(mesh):
        state = devices.place_state(filled(method), mesh)
        own = dataset(bool(method.num_attributes))
        seen = page.Seen(method.at(30), state, own, jax.random.key(0), 30)
        text = page.page(tmp_path, config, seen, running=True)
    moving = [code for code in method.codes.values() if code.kind != "noise"]
    assert ('id="explorer"' in text) == bool(moving)
    assert text.count('class="choice"') == sum(
        code.size for code in moving if code.kind == "categorical"
    ) + 8 * method.num_attributes * (method.attribute_prior is not None)
    assert ('id="reconstructions"' in text) == (method.encode is not None)
    assert 'id="samples"' in text
