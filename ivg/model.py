"""A trained model to use from Python: `ivg.load`, NumPy arrays in, NumPy arrays out.

    import ivg
    model = ivg.load("runs/digits")
    images = model.generate(d=3, n=8, seed=0)       # uint8 [8, 8, 8, 1]
    codes = model.encode(images)                    # {"d": [8, 10], "c": [8, 2], "z": [8, 8]}
    again = model.generate(**codes)                 # what model.reconstruct(images) gives

Images are uint8 in the data's own range. They are scaled on the host, pass the device in chunks of
`ivg.examples.CHUNK`, and come back as evaluation writes them, so that codes and images are those of
the training process. Each function is compiled once for each number of images up to CHUNK; after
`ivg.compilation.keep_programs()` the programs are kept on disk, for the next process. Nothing here
reads the training data, except `dataset`, and `load` of a run directory from before there was a
data.json.
"""

import contextlib
import dataclasses
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from ivg import arguments, build, checkpoint, data, devices, plots, rundir
from ivg.data.batches import take
from ivg.errors import UserError
from ivg.examples import CHUNK, in_chunks, unit
from ivg.players import Code, Labelled, Method, Player

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A trained method: what `load` returns. Nothing in it changes.

    Attributes:
        path: the run directory.
        method: name of the method, such as "infovaegan_invariant".
        data: name of the data set.
        step: training steps of the checkpoint.
        config: the resolved config, plain dicts.
        image_shape: (H, W, C).
        attributes: names of the attributes that `encode` needs; () where it needs none.
        classes: names of the data's classes; () where they have none.
        codes: name -> `ivg.players.Code` (kind, size, low, high).
        functions: the method's pure functions as they are at this step.
        state: their arrays: players without their optimisers.
    """

    path: pathlib.Path
    method: str
    data: str
    step: int
    config: dict[str, Any]
    image_shape: tuple[int, int, int]
    attributes: tuple[str, ...]
    classes: tuple[str, ...]
    codes: dict[str, Code]
    functions: Method
    state: Any
    _encode: Callable | None  # jitted, of (state, x)
    _generate: Callable  # jitted, of (state, codes)
    _prior: Callable  # jitted, of (state, seed, first row), CHUNK rows
    _attribute_prior: Callable  # jitted, of (seed, first row, y), CHUNK rows

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.image_shape))
        names = f"; attributes {', '.join(self.attributes)}" if self.attributes else ""
        return (
            f"<ivg.Model {self.method} on {self.data}, step {self.step}: images {shape}; "
            f"codes {arguments.described(self.codes)}{names}>"
        )

    @property
    def can_encode(self) -> bool:
        """Whether codes can be inferred: `encode`, `reconstruct` and, with attributes, `swap`."""
        return self._encode is not None

    def encode(self, images, attributes=None) -> Arrays:
        """Codes of images.

        Args:
            images: uint8 [N, H, W, C], or [N, H, W] of grey images; `Split.images` of a data set
                too, whatever its kind.
            attributes: 0 or 1, [N, k], for methods with attributes; [N] where k is 1.

        Returns:
            By name float32 [N, size]: the argmax of a categorical code as one-hot (soft where the
            method's classes are), the means of others. `generate(**codes)` takes them.

        Raises:
            UserError: the method has no encoder (yet), or the arrays do not fit it.
        """
        self._require_encoder()
        images = arguments.images(images, self.image_shape)
        n = len(images)
        y = self._labels(attributes, n)
        if not n:
            return {name: np.zeros((0, c.size), np.float32) for name, c in self.codes.items()}

        def inputs(numbers: np.ndarray):
            x = unit(take(images, numbers))
            return x if y is None else Labelled(x, y[numbers])

        with self._settings():
            return in_chunks(lambda x: self._encode(self.state, x), n, inputs)

    def generate(self, *, n: int | None = None, seed: int | None = None, **codes) -> np.ndarray:
        """Images of codes.

        Args:
            n: how many; otherwise as many as the codes have rows, 1 if they have but one.
            seed: of the codes that are not named, which are then drawn from the prior. Without it
                they are in the middle: 0, class 0.
            **codes: by name. A categorical one is a class number, class numbers [n], or one-hot or
                soft rows [n, K]; the numbers are the method's own, found without labels
                (`ivg.metrics.clustering.one_to_one` says which is which). Another one is [size] or
                [n, size], or a number if its size is 1. A code with one row is used for all images.

        Returns:
            uint8 [n, H, W, C].

        Raises:
            UserError: a code has another name, shape or range; the numbers of rows disagree.
        """
        rows = arguments.codes(codes, self.codes)
        n = arguments.length(rows, n)
        rest = self._middle(n) if seed is None else self.prior(n, seed=seed)
        whole = {name: np.broadcast_to(value, (n, value.shape[1])) for name, value in rows.items()}
        return self._images({name: whole.get(name, rest[name]) for name in self.codes}, n)

    def prior(self, n: int, *, seed: int = 0, attributes=None) -> Arrays:
        """Codes drawn as in training; the first ones of more are the same.

        Args:
            n: how many.
            seed: a whole number; the same seed draws the same.
            attributes: 0 or 1, [n, k] or [k] for all alike, of methods with attributes: c is then
                drawn from p(c | attributes). Without it each attribute is present in one half.

        Returns:
            By name float32 [n, size].
        """
        n, seed = arguments.count(n), self._seed(seed)
        y = None if attributes is None else self._labels(attributes, n)
        if not n:
            return {name: np.zeros((0, c.size), np.float32) for name, c in self.codes.items()}
        starts = np.arange(0, n, CHUNK, dtype=np.uint32)
        with self._settings():
            drawn = jax.device_get([self._prior(self.state, seed, start) for start in starts])
        codes = {name: np.concatenate([d[name] for d in drawn])[:n] for name in self.codes}
        return codes if y is None else codes | {"c": self._draw_c(y, seed)}

    def sample(self, n: int, *, seed: int = 0, attributes=None) -> np.ndarray:
        """New images, of codes from `prior`: uint8 [n, H, W, C]."""
        n = arguments.count(n)
        return self._images(self.prior(n, seed=seed, attributes=attributes), n)

    def reconstruct(self, images, attributes=None) -> np.ndarray:
        """Images of the codes of images, arguments as of `encode`: uint8 [N, H, W, C]."""
        codes = self.encode(images, attributes)
        return self._images(codes, len(next(iter(codes.values()))))

    def traverse(self, name: str, *, start: Mapping | None = None, steps: int = 10) -> np.ndarray:
        """Images while one code moves alone.

        Args:
            name: "c1" is the first dimension of c, which moves from its low to its high end in
                equal steps; "d" steps through the classes of d.
            start: codes of one image, as from `encode` or `prior`, that the others stay at; what it
                does not name, and everything by default, is in the middle.
            steps: how many images; of a categorical code as many as it has classes.

        Returns:
            uint8 [steps, H, W, C].
        """
        code, axis = arguments.dimension(name, self.codes)
        spec, base = self.codes[code], arguments.codes(start or {}, self.codes)
        if rows := arguments.length(base, None) - 1:
            raise UserError(f"start holds the codes of {rows + 1} images; give those of one.")
        if axis is None:
            return self.generate(**base | {code: np.arange(spec.size)})
        steps = arguments.count(steps, what="steps", least=1)
        moved = np.repeat(base.get(code, self._middle(1)[code]), steps, axis=0)
        moved[:, axis] = np.linspace(spec.low, spec.high, steps)
        return self.generate(**base | {code: moved})

    def swap(self, images, *, attributes, to, seed: int = 0) -> np.ndarray:
        """Images with other attributes, as the swap accuracy of evaluation makes them.

        z is that of the image. The part of c that belongs to an attribute which changes is drawn
        from p(c | to), that of an attribute which stays is the image's own.

        Args:
            images: as of `encode`.
            attributes: those that the images have, 0 or 1, [N, k]; [N] where k is 1.
            to: those that they are to have, [N, k], or [k] for all of them.
            seed: of the draws; image i of a batch has its own, whatever the batch's size.

        Returns:
            uint8 [N, H, W, C].

        Raises:
            UserError: the method has no attributes, or the arrays do not fit it.
        """
        if not self.attributes:
            raise UserError(f"{self.method} has no attributes to swap.")
        seed = self._seed(seed)
        images = arguments.images(images, self.image_shape)
        n = len(images)
        y = self._labels(attributes, n)
        wanted = arguments.attributes(to, self.attributes, n, what="to")
        codes = self.encode(images, y)
        size = self.codes["c"].size // len(self.attributes)  # dimensions of each attribute
        changes = np.repeat(wanted != y, size, axis=1)
        if n:
            codes["c"] = np.where(changes, self._draw_c(wanted, seed), codes["c"])
        return self._images(codes, n)

    # ---- within -----------------------------------------------------------------------------

    def _images(self, codes: Arrays, n: int) -> np.ndarray:
        """uint8 [n, H, W, C] of codes [n, size]."""
        if not n:
            return np.zeros((0, *self.image_shape), np.uint8)

        def generate(chunk: Arrays) -> Arrays:
            return {"x": plots.to_uint8(np.asarray(self._generate(self.state, chunk)))}

        with self._settings():
            rows = lambda i: {name: v[i] for name, v in codes.items()}  # noqa: E731
            return in_chunks(generate, n, rows)["x"]

    def _middle(self, n: int) -> Arrays:
        middle = {name: np.zeros((n, c.size), np.float32) for name, c in self.codes.items()}
        for name, code in self.codes.items():
            if code.kind == "categorical":
                middle[name][:, 0] = 1.0
        return middle

    def _draw_c(self, y: np.ndarray, seed: np.uint32) -> np.ndarray:
        """Draws from p(c | y) for y [n, k]; row i depends on y[i], the seed and i alone."""
        n, parts = len(y), []
        for start in range(0, n, CHUNK):
            rows = y[start : start + CHUNK]
            whole = np.pad(rows, ((0, CHUNK - len(rows)), (0, 0)))
            with self._settings():
                drawn = self._attribute_prior(seed, np.uint32(start), whole)
                parts.append(np.asarray(drawn)[: len(rows)])
        return np.concatenate(parts)

    def _labels(self, attributes, n: int) -> np.ndarray | None:
        """Attributes float32 [n, k], or None for a method without."""
        if not self.attributes:
            if attributes is not None:
                raise UserError(f"{self.method} knows no attributes; leave attributes away.")
            return None
        names = ", ".join(self.attributes)
        if attributes is None:
            raise UserError(
                f"{self.method} needs the images' attributes: attributes=[{n}, "
                f"{len(self.attributes)}], 0 or 1 for {names}."
            )
        return arguments.attributes(attributes, self.attributes, n, what="attributes")

    def _require_encoder(self) -> None:
        if self.can_encode:
            return
        late = self.functions.encodes_after
        raise UserError(
            f"{self.method} learns to infer codes after step {late} only, and this is the "
            f"checkpoint of step {self.step}."
            if late and self.step <= late
            else f"{self.method} has no encoder: it can generate and sample, not encode."
        )

    def _seed(self, seed: int) -> np.uint32:
        return np.uint32(arguments.count(seed, what="seed") % 2**32)

    @contextlib.contextmanager
    def _settings(self) -> Iterator[None]:
        """The run's precision of products and the model's device, whatever the caller has set."""
        own = build.PRECISIONS[self.config.get("precision", "default")][0]
        mesh = devices.first_mesh()
        with jax.default_matmul_precision(own), jax.set_mesh(mesh), jax.enable_x64(False):
            yield


def load(path: str | os.PathLike, *, step: int | None = None) -> Model:
    """The model of a run directory; nothing there is changed.

    A damaged checkpoint is passed over with a warning, for the one before; `Model.step` says which
    it was.

    Args:
        path: a run directory; of several seeds, that of one.
        step: of the checkpoint; None for the last good one.

    Raises:
        UserError: there is no run or no such checkpoint, or it is of another version of ivg.
    """
    path = pathlib.Path(path).expanduser()
    rundir.require_run(path)
    config = rundir.read_config(path)
    folder = require_checkpoint(path, step)
    known = rundir.read_facts(path) or build.facts(build.load_data(unread(config)))
    method = build.stored_method(config, known)
    with jax.enable_x64(False), jax.set_mesh(devices.first_mesh()):  # whatever the caller has set
        abstract = jax.eval_shape(method.init, jax.random.key(0))
        found = checkpoint.restore(folder, abstract, step=step, config=config, warn=warnings.warn)
    if found is None:
        raise UserError(f"{path} holds no checkpoint any more; it was removed meanwhile.")
    return make_model(path, config, known, method.at(found[0]), found[1], found[0])


def unread(config: Mapping) -> dict:
    """The same config, for data of which no image is decoded that need not be."""
    return {**config, "data": {**config["data"], "in_memory": "no"}}


def make_model(
    path: pathlib.Path,
    config: dict,
    known: rundir.Facts,
    method: Method,
    state: Any,
    step: int,
) -> Model:
    """The model of a state after `step` steps; `method` is as it is then."""
    players = {name: p for name, p in state._asdict().items() if isinstance(p, Player)}
    state = state._replace(**{name: p._replace(opt_state=()) for name, p in players.items()})

    def key(seed, start):
        return jax.random.fold_in(jax.random.key(seed), start)

    def prior(state, seed, start):
        return method.prior(state, key(seed, start), CHUNK)

    def attribute_prior(seed, start, y):
        return method.attribute_prior(jax.random.fold_in(key(seed, start), 1), y)

    # Compiling random draws well takes a CPU longer than drawing them badly.
    fast = {} if devices.on_accelerator() else {"xla_backend_optimization_level": 0}
    return Model(
        path=path,
        method=config["method"],
        data=config["data"]["name"],
        step=step,
        config=config,
        image_shape=known.image_shape,
        attributes=known.attributes if method.num_attributes else (),
        classes=known.classes,
        codes=dict(method.codes),
        functions=method,
        state=devices.place_state(state, devices.first_mesh()),
        _encode=None if method.encode is None else jax.jit(method.encode),
        _generate=jax.jit(method.generate),
        _prior=jax.jit(prior, compiler_options=fast),
        _attribute_prior=jax.jit(attribute_prior, compiler_options=fast),
    )


def dataset(model: Model) -> data.Dataset:
    """The data set that a model was trained on: for test images, their labels and attributes.

    Images are decoded or drawn when they are asked for, whatever the run did:
    `dataset(model).test.images[:10]` is an array of ten, and `encode` takes `test.images` whole.
    """
    return build.load_data(unread(model.config))


def require_checkpoint(path: pathlib.Path, step: int | None) -> pathlib.Path:
    """The folder of checkpoints; UserError where there is none, or not that of `step`."""
    folder = build.checkpoints(path)
    there = checkpoint.steps(folder)
    if not there:
        if runs := rundir.runs_in(path):
            raise UserError(f"{path} holds several runs; name one of {runs}.")
        raise UserError(f"{path} holds no checkpoint yet; train first with --mode=train.")
    if step is not None and arguments.count(step, what="step") not in there:
        steps = ", ".join(map(str, there))
        raise UserError(f"{path} has no checkpoint of step {step}; there are {steps}.")
    return folder
