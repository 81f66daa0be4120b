"""The attribute classifier on little pictures whose attributes are plain to see."""

from typing import Any

import jax
import numpy as np
import optax
import pytest

from ivg import networks
from ivg.errors import UserError
from ivg.probes import classifier as module
from ivg.probes.classifier import (
    Accuracy,
    Classifier,
    accuracy,
    predict,
    reason_against,
    swap_accuracy,
    train_classifier,
)

SIDE, TRAIN, TEST = 16, 320, 300
SIZES = {"steps": 40, "batch_size": 64, "learning_rate": 1e-2, "width": 0.125}


def pictures(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright bar in half of the images (attribute 0), a dark one in 8 % (1)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(90, 160, (rows, SIDE, SIDE, 1))
    y = rng.random((rows, 2)) < [0.5, 0.08]
    images[:, 3:6] = np.where(y[:, 0, None, None, None], 250, images[:, 3:6])
    images[:, 10:13] = np.where(y[:, 1, None, None, None], 5, images[:, 10:13])
    return images.astype(np.uint8), y


@pytest.fixture(scope="module")
def trained() -> Classifier:
    return train_classifier(*pictures(TRAIN, 0), **SIZES)


def test_learns_a_common_and_a_rare_attribute(trained: Classifier) -> None:
    own = accuracy(trained, *pictures(TEST, 1))
    assert own.plain.shape == own.balanced.shape == (2,)
    assert own.plain.min() > 0.95 and own.balanced.min() > 0.95


def test_same_seed_same_classifier(trained: Classifier) -> None:
    again = train_classifier(*pictures(TRAIN, 0), **SIZES)
    images = pictures(8, 1)[0]
    np.testing.assert_array_equal(predict(trained, images), predict(again, images))


def test_predictions_do_not_depend_on_chunks_or_scale(trained: Classifier) -> None:
    images, _ = pictures(TEST, 1)
    probabilities = predict(trained, images)
    assert probabilities.shape == (TEST, 2) and TEST > module.CHUNK
    assert probabilities.min() >= 0 and probabilities.max() <= 1
    floats = (images[-3:] / 127.5 - 1).astype(np.float32)
    np.testing.assert_allclose(probabilities[-3:], predict(trained, floats), atol=1e-5)
    assert predict(trained, images[:0]).shape == (0, 2)


def test_both_values_of_an_attribute_have_the_same_weight() -> None:
    y = np.array([[1, 0], [0, 0], [0, 1], [0, 1]], bool)
    weights = module._weights(y)
    np.testing.assert_allclose(weights, [[2 / 3, 1], [2, 1]], rtol=1e-6)
    each = np.where(y, weights[1], weights[0])
    for value in (True, False):
        np.testing.assert_allclose((each * (y == value)).sum(axis=0), 2, rtol=1e-6)


def test_one_step_descends_the_weighted_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_augmented", lambda x, key: x)
    # Plain descent: Adam's first step is the gradient's sign, which does not see the weights.
    monkeypatch.setattr(module, "_optimizer", lambda recipe: optax.sgd(recipe.learning_rate))
    images, y = pictures(8, 3)
    y[:, 1] = np.arange(8) < 2
    weights = module._weights(y)
    recipe = module._Recipe(2, 0.0625, 0.5, 7)
    before = module._start(recipe, jax.random.key(1), images[:1])
    after = module._advance(recipe, before, jax.random.key(2), images, y, weights)
    net = networks.attribute_classifier(2, width=0.0625)

    def loss(params: Any) -> jax.Array:
        logits, _ = net.train(params, before.stats, (images / 127.5 - 1).astype(np.float32))
        p = jax.nn.sigmoid(logits)
        negative = -jax.numpy.log(jax.numpy.where(y, p, 1 - p))
        return (np.where(y, weights[1], weights[0]) * negative).mean()

    grads = jax.jit(jax.grad(loss))(before.params)
    for new, old, grad in zip(
        *map(jax.tree.leaves, (after.params, before.params, grads)), strict=True
    ):
        assert np.abs(grad).max() > 0
        np.testing.assert_allclose(new, old - 0.5 * grad, atol=1e-4)


def test_augmentation_mirrors_and_shifts_by_a_32nd() -> None:
    x = np.zeros((200, 64, 64, 1), np.float32)
    x[:, 12, 9] = 1
    found = np.argwhere(np.asarray(jax.jit(module._augmented)(x, jax.random.key(0)))[..., 0])
    assert len(found) == 200, "one bright pixel in each image, as before"
    assert set(found[:, 1]) == {10, 11, 12, 13, 14}
    assert set(found[:, 2]) == {7, 8, 9, 10, 11} | {52, 53, 54, 55, 56}
    # Images are moved each in its own way, and rows and columns apart: 50 places in all.
    assert len({tuple(place) for place in found[:, 1:]}) > 40


def test_minibatches_are_epochs_without_repetition() -> None:
    rows = module._minibatches(10, 4, np.random.default_rng(0))
    for _ in range(3):
        epoch = np.concatenate([next(rows), next(rows)])
        assert len(set(epoch)) == 8 and epoch.max() < 10
    assert len(next(module._minibatches(3, 100, np.random.default_rng(0)))) == 3


def test_accuracy_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.1], [0.3, 0.6], [0.8, 0.2]])
    y = np.array([[1, 0], [1, 0], [0, 0], [1, 0]], bool)
    monkeypatch.setattr(module, "predict", lambda classifier, images: probabilities)
    found = accuracy(Classifier({}, {}, 2, 1.0), np.zeros((4, 16, 16, 1)), y)
    np.testing.assert_allclose(found.plain, [3 / 4, 3 / 4])
    np.testing.assert_allclose(found.balanced, [(2 / 3 + 1) / 2, 3 / 4])  # no image shows the last


def test_swap_accuracy_and_its_refusal(trained: Classifier) -> None:
    images, y = pictures(TEST, 2)
    wanted = y.copy()
    wanted[:60, 0] = ~wanted[:60, 0]  # 60 images do not show what is wanted
    own = Accuracy(np.array([0.97, 0.96]), np.array([0.98, 0.8]))
    floats = (images / 127.5 - 1).astype(np.float32)
    first, second = swap_accuracy(trained, floats, wanted, own=own)
    assert abs(first.accuracy - (1 - 60 / TEST)) < 0.04
    assert (first.classifier_accuracy, first.reason) == (0.97, "")
    assert second.accuracy is None and second.classifier_accuracy == 0.96
    assert second.reason == (
        "the classifier is right for 80.0 % of the real test images, both values counting equally, "
        "and 95 % are needed to judge swaps: train it for more steps or on more images"
    )


def test_the_limit_is_95_percent() -> None:
    assert reason_against(0.95, 0.95) == ""
    assert reason_against(0.949, 0.99).startswith("the classifier is right for 94.9 % of the real")
    assert "94.9 %" in reason_against(0.94999, 0.99)
    assert "both values" in reason_against(0.99, 0.949)
    assert reason_against(float("nan"), 0.99), "an unknown accuracy is none"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros((7, 1), bool)}, r"shapes \(8, 16, 16, 1\) and \(7, 1\)"),
        ({"y": np.ones((8, 1), bool)}, "attribute 1 of 1 has one value only in the 8 training"),
        ({"images": np.zeros((8, 15, 15, 1), np.uint8)}, "even sides of at least 16"),
        ({"steps": 0}, "at least 1 step"),
        ({"width": 0}, "width must be positive"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    images, _ = pictures(8, 0)
    arguments = {"images": images, "y": np.arange(8)[:, None] % 2 == 0} | SIZES | change
    with pytest.raises(UserError, match=message):
        train_classifier(arguments.pop("images"), arguments.pop("y"), **arguments)


def test_images_that_are_not_finite_are_no_absent_attributes(trained: Classifier) -> None:
    with pytest.raises(UserError, match="not finite"):
        predict(trained, np.full((2, SIDE, SIDE, 1), np.nan, np.float32))
