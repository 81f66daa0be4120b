"""Pictures of attributes: turned on and off in test images, and the plane of their code."""

import jax
import jax.numpy as jnp
import numpy as np

from ivg import data, plots
from ivg.examples import encode, generate, images_of, inputs
from ivg.players import Codes, Labelled, Method

STEPS = 5  # of the plane, along each axis, from the code's low to its high end


def own_dimensions(method: Method, attribute: int) -> slice:
    """The dimensions of c that belong to an attribute."""
    size = method.codes["c"].size // method.num_attributes
    return slice(attribute * size, (attribute + 1) * size)


def examples(dataset: data.Dataset, attribute: int, n: int) -> np.ndarray:
    """Numbers of test images, the first ones that lack an attribute and that have it: int [n]."""
    has = dataset.test.attributes[:, attribute]
    absent, present = np.flatnonzero(~has)[: n // 2], np.flatnonzero(has)[: n - n // 2]
    return np.concatenate([absent, present])


def with_attribute(
    method: Method, codes: Codes, y: jax.Array, attribute: int, value: float, key: jax.Array
) -> Codes:
    """The same codes with one attribute's part drawn from p(c | y) for the given value of it."""
    c = method.attribute_prior(key, y.at[:, attribute].set(value))
    own = own_dimensions(method, attribute)
    return codes | {"c": codes["c"].at[:, own].set(c[:, own])}


def swap_picture(
    method: Method, state, dataset: data.Dataset, attribute: int, key, n: int = 10
) -> np.ndarray:
    """Test images, their reconstructions, and the same without and with an attribute (Fig. 10)."""
    x: Labelled = inputs(method, dataset.test, examples(dataset, attribute, n))
    codes = jax.tree.map(jnp.asarray, encode(method, state, x))
    rows = [images_of(x), generate(method, state, codes)]
    for value in (0.0, 1.0):
        turned = with_attribute(method, codes, jnp.asarray(x.y), attribute, value, key)
        rows.append(generate(method, state, turned))
    name = dataset.attribute_names[attribute]
    return plots.traversal(
        np.stack(rows),
        row_labels=("real", "reconstructed", f"without {name}", f"with {name}"),
        title=f"test images with c drawn for either value of {name}, z kept",
    )


def plane_picture(
    method: Method, state, dataset: data.Dataset, attribute: int, images: int = 2
) -> np.ndarray:
    """Both dimensions of an attribute's code over their plane, z of test images (Fig. 9)."""
    x = inputs(method, dataset.test, examples(dataset, attribute, images))
    codes = jax.tree.map(jnp.asarray, encode(method, state, x))
    code, own = method.codes["c"], own_dimensions(method, attribute)
    values = np.linspace(code.low, code.high, STEPS)
    points = np.stack(np.meshgrid(values, values, indexing="ij"), axis=-1).reshape(-1, 2)
    blocks = []
    for i in range(len(x.y)):
        base = {name: jnp.repeat(v[i : i + 1], len(points), axis=0) for name, v in codes.items()}
        base["c"] = base["c"].at[:, own].set(jnp.asarray(points))
        x_g = generate(method, state, base)
        blocks.append(x_g.reshape(STEPS, STEPS, *x_g.shape[1:]))
    words = [f"{v:+.1f}" for v in values]
    name = dataset.attribute_names[attribute]
    return plots.traversal(
        np.concatenate(blocks, axis=1),
        row_labels=[f"c{own.start + 1} {word}" for word in words],
        column_labels=[f"c{own.start + 2} {word}" for word in words] * len(blocks),
        title=f"z of {len(blocks)} test images, the code of {name} over its plane",
    )


def pictures(method: Method, state, dataset: data.Dataset, key) -> dict[str, np.ndarray]:
    """All of them by file name, uint8 [H, W, 3]."""
    result = {}
    for i, name in enumerate(dataset.attribute_names):
        own = jax.random.fold_in(key, i)
        result[f"swap_{name}"] = swap_picture(method, state, dataset, i, own)
        result[f"plane_{name}"] = plane_picture(method, state, dataset, i)
    return result
