"""Signs of collapse: what raises them, when, and what does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg import alarms, data
from ivg.log import Log
from ivg.players import Code, Method

# A line of the log that shows each sign, and one of a healthy run that comes near.
COLLAPSED = {
    "saturation": {"D/loss": 0.002, "D/real": 9.0, "D/fake": -11.0},
    "gradient": {"D/penalty": 0.99, "D/wasserstein": 0.001},
    "kl": {"E/kl": 0.004, "E/kl_01": 0.003, "E/kl_02": 0.001},
    "codes": {"Q/info_d": 0.01, "Q/info_lower": -0.3},
}
HEALTHY = {
    "saturation": {"D/loss": 0.04, "D/real": 7.9, "D/fake": -12.0},
    "gradient": {"D/penalty": 4.2, "D/wasserstein": 122.0},
    "kl": {"E/kl_01": 0.2, "E/kl_02": 0.0},
    "codes": {"q_u/info_d": 1.1, "q_u/info_c": -3.7},
}
NUMBERS = {"saturation": "D/loss = 0.002, D/real = 9, D/fake = -11", "gradient": "= 0.99",
           "kl": "E/kl = 0.004", "codes": "Q/info_d = 0.01"}  # fmt: skip


@pytest.mark.parametrize("kind", COLLAPSED)
def test_a_sign_must_last(kind):
    watch, patience = alarms.Watch(), alarms.PATIENCE[kind]
    for step in range(100, patience, 100):
        assert watch(step - 100, step, COLLAPSED[kind])[kind] is None
    text = watch(patience - 100, patience, COLLAPSED[kind])[kind]
    assert NUMBERS[kind] in text and text.endswith(", since step 0")
    assert watch(patience, patience + 100, HEALTHY[kind])[kind] is None
    assert watch(patience + 100, patience + 200, COLLAPSED[kind])[kind] is None  # from anew


@pytest.mark.parametrize("kind", COLLAPSED)
def test_other_signs_stay_silent(kind):
    found = alarms.signs(COLLAPSED[kind])
    assert [name for name, text in found.items() if text] == [kind]
    assert not any(alarms.signs(HEALTHY[kind]).values())
    assert not any(alarms.signs({}).values())


def test_one_line_over_many_steps_is_not_enough():
    watch = alarms.Watch()
    lines = [watch(2_000 * i, 2_000 * (i + 1), COLLAPSED["kl"])["kl"] for i in range(3)]
    assert [text is not None for text in lines] == [False, False, True]


def test_each_kind_is_said_once_per_onset(tmp_path):
    said = []
    with Log(tmp_path, resume_step=None) as log:
        for step, text in enumerate(["a", "a", None, "a"]):
            log.alarm(step, text, said.append, kind="kl")
            log.alarm(step, "b", said.append, kind="codes")
    assert said == ["warning: step 0: a", "warning: step 0: b", "warning: step 3: a"]


def test_mean_distance_is_that_of_a_loop():
    x = np.random.default_rng(0).normal(size=(7, 3, 2, 1)).astype(np.float32)
    apart = [np.linalg.norm(x[i] - x[j]) for i in range(7) for j in range(i)]
    np.testing.assert_allclose(alarms.mean_distance(x), np.mean(apart), rtol=1e-6)
    assert alarms.mean_distance(x[:1]) == 0.0 == alarms.mean_distance(np.ones((4, 2)))


def game(spread: float) -> Method:
    """Draws images of noise of this standard deviation."""
    return Method(
        init=None,
        phases=(),
        encode=None,
        generate=lambda s, codes: s * codes["z"].reshape(-1, 4, 4, 1),
        prior=lambda s, key, n: {"z": jax.random.normal(key, (n, 16))},
        codes={"z": Code("noise", 16)},
    )


def dataset(images) -> data.Dataset:
    split = data.Split(images, None, None)
    return data.Dataset("toy", split, split, images.shape[1:])


def test_diversity_is_relative_to_real_images():
    noise = np.random.default_rng(0).normal(0.0, 40.0, (200, 4, 4, 1))
    real = dataset(np.clip(np.round(127.5 + noise), 0, 255).astype(np.uint8))
    ratios = {
        spread: alarms.diversity(game(spread), jnp.float32(spread), real, jax.random.key(0))
        for spread in (40.0 / 127.5, 0.01, 0.0)
    }
    assert 0.9 < ratios[40.0 / 127.5] < 1.1 and ratios[0.0] == 0.0
    texts = [alarms.sameness(game(1.0), ratio, 5_000) for ratio in ratios.values()]
    assert texts[0] is None and "0.033 times" in texts[1] and "is 0 times" in texts[2]
    assert alarms.sameness(game(1.0), 0.0, 1_999) is None  # too early to tell
    means = game(1.0)._replace(log_likelihood=lambda *_: {})
    assert alarms.sameness(game(1.0), 0.2, 5_000) and not alarms.sameness(means, 0.2, 5_000)
    same = dataset(np.zeros((9, 4, 4, 1), np.uint8))
    assert alarms.diversity(game(1.0), jnp.float32(1), same, jax.random.key(0)) is None
