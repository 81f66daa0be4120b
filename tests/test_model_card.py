"""The model card: what it says is so, and it stays Markdown whatever the user's files hold."""

import re

import jax
import numpy as np
import pytest
from exported import STEP, tiny

from ivg import catalogue, data, export, model_card, programs
from ivg.methods import METHODS
from ivg.model import Model


@pytest.mark.parametrize("name", METHODS)
def test_priors_are_as_the_codes_say(name):
    model = tiny(name, step=10**6)
    prior = jax.device_get(model.functions.prior(model.state, jax.random.key(0), 400))
    for code, values in prior.items():
        words = model.codes[code].prior
        if words == "uniform over the classes":
            assert set(np.unique(values)) == {0, 1} and np.all(values.sum(1) == 1)
        elif "Dirichlet" in words:
            assert np.allclose(values.sum(1), 1, atol=1e-3) and 0 < np.median(values) < 1
        elif words == "uniform on [-1, 1]":
            assert abs(values).max() <= 1 and abs(values.std() - 3**-0.5) < 0.03
        elif words == "N(0, 1)":
            assert abs(values).max() > 2.5 and abs(values.std() - 1) < 0.06
        elif words.startswith("N(3, 1)"):  # one half of the rows each
            assert abs(values.mean() - 1.5) < 0.2 and values.max() > 4.5
        else:
            assert name == "ibgan" and "e(r given z)" in words


def about(model: Model) -> dict:
    """What the card is made of; nothing is compiled."""
    made = programs.programs(model)
    sizes = dict.fromkeys([f"{n}.jax_export" for n in made.code], {"bytes": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "compare", lambda *_: "not compared")
        sizes["weights.safetensors"] = {"bytes": 1}
        return export.describe(model, made, {}, sizes, {"ivg": "0.1.0"})


def assert_markdown(card: str) -> None:
    """Tables have rows of one length, code blocks end, and no markup is the user's."""
    assert card.count("```") % 2 == 0 and "<b>" not in re.sub(r"`[^`]*`", "", card)
    for block in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        lengths = {line.count("|") for line in block.splitlines()}
        assert len(lengths) == 1, block


def test_the_card_of_a_generator_says_so():
    found = about(tiny("wgan_gp"))
    card = model_card.card(found)
    assert_markdown(card)
    assert "there is no encoder" in card and "encode(" not in card
    assert "the run has no results.json" in card
    assert about(tiny("gan"))["no_encoder"] == "gan has an encoder only after step 20."


def test_the_card_holds_scores_and_recipes(tmp_path):
    found = about(tiny("mmvae", folder=str(tmp_path)))
    found["results"] = {"method": "mmvae", "step": STEP, "reconstruction_mse": 0.25}
    mig = {"mean": 0.125, "std": None, "recipe": {"rows": 10_000, "bins": 20}}
    found["results"]["disentanglement"] = {"mig": mig}
    bits = dict.fromkeys(("c;y", "z;y", "z;c"), {"mean": 0.5, "std": 0.0625})
    bits |= {"entropy_y": 1.0, "recipe": {"steps": 2000}}
    swap = {name: {"accuracy": None, "classifier_accuracy": 0.875} for name in found["attributes"]}
    found["results"]["attributes"] = {"information": bits, "swap": swap}
    card = model_card.card(found)
    assert_markdown(card)
    for part in ("reconstruction_mse | 0.2500", "| mig | 0.1250 | - | `rows=10000, bins=20`",
                 "| I(c;y) | 0.5000 | 0.0625 |", "`steps=2000`", "| `Hat` | - | 0.8750 |",
                 "`Smile/'<b>`", "Kim, Mutual Information Minimizing VAE"):  # fmt: skip
        assert part in card, part


def test_methods_and_data_are_described():
    assert list(catalogue.METHODS) == sorted(METHODS)
    assert model_card.DATA.keys() == data.LOADERS.keys()
