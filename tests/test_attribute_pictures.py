"""Pictures of attributes, on a method whose images show its codes pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg import attribute_pictures, data, examples
from ivg.players import Code, Method

NAMES = ("hat", "scarf")
DIM_C, DIM_Z = 4, 2
SHAPE = (2, DIM_C + DIM_Z, 1)  # codes / 8 in the first row, a quarter of that in the second
LOW, HIGH = -0.5, 3.5
STATE, KEY = jnp.float32(1.0), jax.random.key(0, impl="unsafe_rbg")
COUNT = 12
# Neither attribute in order; image 5 is the first with a hat.
HATS, SCARFS = {5, 7, 8, 9, 11}, {0, 2, 3, 5, 8, 10}
Y = np.array([[i in HATS, i in SCARFS] for i in range(COUNT)])


def encode(s, batch):
    """z from the image, c from the label and a little from the image."""
    own = 8 / s * batch.x[:, 0]
    c = 3 * jnp.repeat(batch.y, 2, axis=-1) + 0.1 * own[:, :DIM_C, 0]
    return {"c": c, "z": own[:, DIM_C:, 0]}


def generate(s, codes):
    row = s * jnp.concatenate([codes["c"], codes["z"]], axis=-1) / 8
    return jnp.stack([row, row / 4], axis=1)[..., None]


TOY = Method(
    init=lambda key: STATE,
    phases=(),
    encode=jax.jit(encode),
    generate=jax.jit(generate),
    prior=lambda s, key, n: {"c": jnp.zeros((n, DIM_C)), "z": jnp.zeros((n, DIM_Z))},
    codes={"c": Code("continuous", DIM_C, LOW, HIGH), "z": Code("noise", DIM_Z)},
    num_attributes=2,
    attribute_prior=jax.jit(
        lambda key, y: 3 * jnp.repeat(y, 2, axis=-1) + 0.1 * jax.random.normal(key, (len(y), DIM_C))
    ),
)
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE), np.uint8)
SPLIT = data.Split(PIXELS, None, Y)
DATASET = data.Dataset("toy", SPLIT, SPLIT, SHAPE, attribute_names=NAMES)


def codes_of(numbers) -> np.ndarray:
    """The codes c, z side by side that the toy infers, [n, 6]."""
    own = 8 * examples.unit(PIXELS[numbers])[:, 0, :, 0]
    c = 3 * np.repeat(Y[numbers], 2, axis=1) + 0.1 * own[:, :DIM_C]
    return np.hstack([c, own[:, DIM_C:]])


@pytest.fixture
def drawn(monkeypatch) -> list:
    """What is given to `plots.traversal`: (images, words) of each picture."""
    found = []
    monkeypatch.setattr(
        attribute_pictures.plots,
        "traversal",
        lambda images, **words: found.append((np.asarray(images), words)),
    )
    return found


def shown(images: np.ndarray) -> np.ndarray:
    """The codes in generated images [..., 2, 6, 1]: [..., 6]."""
    np.testing.assert_allclose(images[..., 1, :, 0], images[..., 0, :, 0] / 4, atol=1e-6)
    return 8 * images[..., 0, :, 0]


@pytest.mark.parametrize(
    "attribute, n, numbers",
    [
        (0, 4, [0, 1, 5, 7]),
        (0, 5, [0, 1, 5, 7, 8]),
        (1, 4, [1, 4, 0, 2]),
        (0, 14, [0, 1, 2, 3, 4, 6, 10, 5, 7, 8, 9, 11]),  # fewer have a hat than asked for
    ],
)
def test_examples_lack_the_attribute_and_have_it(attribute, n, numbers):
    assert attribute_pictures.examples(DATASET, attribute, n).tolist() == numbers


@pytest.mark.parametrize("attribute, value", [(0, 0.0), (0, 1.0), (1, 0.0), (1, 1.0)])
def test_with_attribute_draws_its_own_code_only(attribute, value):
    y = jnp.asarray(Y, jnp.float32)
    codes = {"c": jnp.full((COUNT, DIM_C), 9.0), "z": jnp.full((COUNT, DIM_Z), 7.0)}
    found = attribute_pictures.with_attribute(TOY, codes, y, attribute, value, KEY)
    own = np.arange(DIM_C) // 2 == attribute
    assert (found["z"] == 7.0).all() and (np.asarray(found["c"])[:, ~own] == 9.0).all()
    drawn = np.asarray(found["c"])[:, own]
    np.testing.assert_allclose(drawn, np.full((COUNT, 2), 3 * value), atol=0.5)
    assert len(np.unique(drawn)) == 2 * COUNT
    assert (codes["c"] == 9.0).all()  # those given are not changed


@pytest.mark.parametrize("attribute", [0, 1])
def test_swap_picture(drawn, attribute):
    """Real, reconstructed, without, with: only the attribute's code tells the last three apart."""
    attribute_pictures.swap_picture(TOY, STATE, DATASET, attribute, KEY, n=8)
    [(images, words)] = drawn
    name = NAMES[attribute]
    assert words["row_labels"] == ("real", "reconstructed", f"without {name}", f"with {name}")
    assert images.shape == (4, 8, *SHAPE)
    numbers = attribute_pictures.examples(DATASET, attribute, 8)
    np.testing.assert_array_equal(images[0], examples.unit(PIXELS[numbers]))
    reconstructed, *turned = shown(images[1:])
    np.testing.assert_allclose(reconstructed, codes_of(numbers), atol=1e-5)
    own = np.arange(DIM_C + DIM_Z) // 2 == attribute
    for value, row in enumerate(turned):
        np.testing.assert_allclose(row[:, ~own], reconstructed[:, ~own], atol=1e-6)
        np.testing.assert_allclose(row[:, own], np.full((8, 2), 3 * value), atol=0.5)


@pytest.mark.parametrize("attribute", [0, 1])
def test_plane_picture(drawn, attribute):
    """All pairs of values from low to high, for an image without and one with the attribute."""
    attribute_pictures.plane_picture(TOY, STATE, DATASET, attribute)
    [(images, words)] = drawn
    steps = attribute_pictures.STEPS
    values = [-0.5, 0.5, 1.5, 2.5, 3.5]  # the thesis'
    assert images.shape == (steps, 2 * steps, *SHAPE) and steps == len(values)
    found = shown(images).reshape(steps, 2, steps, DIM_C + DIM_Z)
    first, second = 2 * attribute, 2 * attribute + 1
    expected = np.tile(np.array(values)[:, None, None], (1, 2, steps))
    np.testing.assert_allclose(found[..., first], expected, atol=1e-5)
    np.testing.assert_allclose(found[..., second], expected.swapaxes(0, 2), atol=1e-5)
    rest = [i for i in range(DIM_C + DIM_Z) if i not in (first, second)]
    base = codes_of(attribute_pictures.examples(DATASET, attribute, 2))[:, rest]
    expected = np.broadcast_to(base[None, :, None], (steps, 2, steps, len(rest)))
    np.testing.assert_allclose(found[..., rest], expected, atol=1e-5)
    signed = ["-0.5", "+0.5", "+1.5", "+2.5", "+3.5"]
    assert list(words["row_labels"]) == [f"c{first + 1} {v}" for v in signed]
    assert list(words["column_labels"]) == [f"c{second + 1} {v}" for v in signed] * 2
    assert NAMES[attribute] in words["title"]


def test_plane_picture_of_more_images(drawn):
    attribute_pictures.plane_picture(TOY, STATE, DATASET, 0, images=3)
    [(images, words)] = drawn
    assert images.shape[:2] == (5, 15) and len(words["column_labels"]) == 15


def test_all_pictures_by_file_name():
    found = attribute_pictures.pictures(TOY, STATE, DATASET, KEY)
    assert list(found) == ["swap_hat", "plane_hat", "swap_scarf", "plane_scarf"]
    for picture in found.values():
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] == 3
        assert (picture < 255).any()
    assert found["swap_hat"].tobytes() != found["swap_scarf"].tobytes()


def test_images_that_are_not_in_memory(drawn):
    lazy = SPLIT._replace(images=data.LazyImages(lambda i: PIXELS[i], COUNT, SHAPE))
    for test in (SPLIT, lazy):
        attribute_pictures.swap_picture(TOY, STATE, DATASET._replace(test=test), 0, KEY, n=4)
    np.testing.assert_array_equal(drawn[0][0], drawn[1][0])
