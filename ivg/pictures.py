"""Pictures of a trained state: samples, traversals, reconstructions, interpolations."""

import jax
import jax.numpy as jnp
import numpy as np

from ivg import data, plots, scoring
from ivg.examples import chosen, encode, generate, images_of, inputs, prior
from ivg.players import Codes, Labelled, Method

RATE_IMAGES = 500  # test images for the KL that orders the rows of traversals
MAX_ROWS = 24  # of a traversal


def reconstruct(method: Method, state, x: jax.Array | Labelled) -> jax.Array:
    """Images [B, H, W, C] from the codes that are inferred from x, z included."""
    return method.generate(state, method.encode(state, x))


def middle(method: Method, state, key: jax.Array, n: int) -> Codes:
    """The middle of every code, n times: continuous codes and noise at 0, one class drawn."""
    return {
        name: jnp.repeat(code if method.codes[name].kind == "categorical" else 0 * code, n, axis=0)
        for name, code in prior(method, state, key, 1).items()
    }


def class_traversal(method: Method, state, key, code: str, axis: int, values: np.ndarray):
    """Images [K, len(values), H, W, C]: a row per class, one code moving, all else at 0."""
    num_classes, columns = method.codes["d"].size, len(values)
    codes = middle(method, state, key, num_classes * columns)
    codes["d"] = jnp.repeat(jnp.eye(num_classes), columns, axis=0)
    codes[code] = codes[code].at[:, axis].set(jnp.tile(jnp.asarray(values), num_classes))
    x_g = generate(method, state, codes)
    return x_g.reshape(num_classes, columns, *x_g.shape[1:])


def code_traversal(method: Method, state, base: Codes, columns: int, order=None):
    """Images [codes, columns, H, W, C] and labels: a row per continuous code, moving alone.

    At most MAX_ROWS rows for each code: those of the largest numbers, or the first.

    Args:
        method, state: what generates.
        base: codes, one of each, of which one at a time is moved from its low to its high end.
        columns: steps of the way.
        order: numbers [dims] of the dimensions of the only continuous code, and values to print
            beside them; None keeps the order and prints nothing.
    """
    base = {name: np.repeat(np.asarray(code[:1]), columns, axis=0) for name, code in base.items()}
    rows, labels = [], []
    for name in scoring.continuous(method):
        code = method.codes[name]
        values = np.linspace(code.low, code.high, columns)
        axes = range(code.size) if order is None else np.argsort(-np.asarray(order))
        for axis in axes[:MAX_ROWS]:
            moved = base[name].copy()
            moved[:, axis] = values
            rows.append(base | {name: moved})
            amount = "" if order is None else f" {order[axis]:.2f}"
            labels.append(f"{name}{axis + 1}{amount}")
    codes = {name: np.concatenate([row[name] for row in rows]) for name in base}
    x_g = generate(method, state, codes)
    return x_g.reshape(len(rows), columns, *x_g.shape[1:]), labels


def interpolate(method: Method, state, x: np.ndarray | Labelled, columns: int) -> np.ndarray:
    """Images [B/2, columns, H, W, C] between the codes of x[0::2] and those of x[1::2]."""
    pairs = len(images_of(x)) // 2
    codes = encode(method, state, jax.tree.map(lambda leaf: leaf[: 2 * pairs], x))
    weights = np.linspace(0.0, 1.0, columns, dtype=np.float32)[:, None]
    mixed = {
        name: ((1 - weights) * v[0::2, None] + weights * v[1::2, None]).reshape(-1, v.shape[1])
        for name, v in codes.items()
    }
    x_g = generate(method, state, mixed)
    return x_g.reshape(pairs, columns, *x_g.shape[1:])


def sample_picture(method: Method, state, key, n: int = 100, columns: int = 10) -> np.ndarray:
    """A grid uint8 [H, W, C] of n images from the prior."""
    return plots.grid(generate(method, state, prior(method, state, key, n)), columns)


def kl_per_code(method: Method, state, dataset: data.Dataset, key) -> list[float] | None:
    """KL per dimension of the code in nats, where the method knows it: of test images, or drawn."""
    if method.rates is not None:
        x = inputs(method, dataset.test, chosen(dataset, RATE_IMAGES))
        return scoring.rates(method, state, x)
    return scoring.bounds(method, state, key, 1_000).get("kl") if method.bounds else None


def traversal_picture(
    method: Method, state, dataset: data.Dataset, key, columns: int = 10
) -> np.ndarray:
    """Every continuous code moving alone, all else at 0; ordered by KL where that is known."""
    kl = kl_per_code(method, state, dataset, key)
    rows, names = code_traversal(method, state, middle(method, state, key, 1), columns, kl)
    ends = {(method.codes[n].low, method.codes[n].high) for n in scoring.continuous(method)}
    title = "each row moves one code, all else at 0" + (", by KL in nats" if kl else "")
    labels = [f"{v:+.1f}" for v in np.linspace(*ends.pop(), columns)] if len(ends) == 1 else ()
    return plots.traversal(rows, row_labels=names, column_labels=labels, title=title)


def traversal_of_images(
    method: Method, state, dataset: data.Dataset, key, columns: int = 10, images: int = 3
) -> np.ndarray:
    """The same from the codes of test images, one block after the other, as in IB-GAN's Fig. 1."""
    kl = kl_per_code(method, state, dataset, key)
    codes = encode(method, state, inputs(method, dataset.test, chosen(dataset, images)))
    blocks = []
    for i in range(len(next(iter(codes.values())))):
        base = {name: code[i : i + 1] for name, code in codes.items()}
        rows, names = code_traversal(method, state, base, columns, kl)
        blocks.append(rows)
    return plots.traversal(
        np.concatenate(blocks, axis=1),
        row_labels=names,
        column_labels=(),
        title=f"the codes of {len(blocks)} test images, one moving alone from low to high",
    )


def pictures(method: Method, state, dataset: data.Dataset, key) -> dict[str, np.ndarray]:
    """All pictures by file name, uint8 [H, W, C]."""
    sample_key, traversal_key = jax.random.split(key)
    result = {"samples": sample_picture(method, state, sample_key)}
    continuous = [(n, c) for n, c in method.codes.items() if c.kind == "continuous"]
    if "d" in method.codes:
        classes = [f"d={i}" for i in range(method.codes["d"].size)]
        for name, code in continuous:
            values = np.linspace(code.low, code.high, 10)
            labels = [f"{v:+.1f}" for v in values]
            for axis in range(min(code.size, 4)):
                rows = class_traversal(method, state, traversal_key, name, axis, values)
                title = f"rows: class d, columns: {name}{axis + 1}; all else at 0"
                result[f"traversal_d_{name}{axis + 1}"] = plots.traversal(
                    rows, row_labels=classes, column_labels=labels, title=title
                )
    if continuous:
        result["traversal_codes"] = traversal_picture(method, state, dataset, traversal_key)
        if scoring.has_factors(method, dataset):
            result["traversal_images"] = traversal_of_images(method, state, dataset, traversal_key)
    if method.encode is not None:
        n = min(40, len(dataset.test.images) // 2 * 2)
        x = inputs(method, dataset.test, chosen(dataset, n))
        x_hat = generate(method, state, encode(method, state, x))
        result["reconstructions"] = plots.reconstructions(images_of(x), x_hat)
        ends = jax.tree.map(lambda leaf: leaf[: min(20, n)], x)
        middle, shown = interpolate(method, state, ends, 10), images_of(ends)
        result["interpolations"] = plots.interpolation(middle, shown[0::2], shown[1::2])
    return result
