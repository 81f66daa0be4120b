"""What the page does with a model, without the page: states in, states and HTML out."""

import dataclasses
import pathlib
from typing import NamedTuple

import numpy as np

from ivg import model as library
from ivg.data import resize
from ivg.data.batches import take
from ivg.errors import UserError
from ivg.examples import chosen
from ivg.explore import pictures
from ivg.explore import state as states
from ivg.explore.state import Slider, State

TEST_IMAGES = 20


class Explorer(NamedTuple):
    """A model with what the page shows of it.

    model: from `ivg.load`.
    images: test images to start from, uint8 [n, H, W, C]; n is 0 where there are none.
    attributes: of these images, 0 or 1, float32 [n, k].
    note: a sentence to show; "" for none.
    shown, folded: the sliders.
    """

    model: library.Model
    images: np.ndarray
    attributes: np.ndarray
    note: str
    shown: list[Slider]
    folded: list[Slider]

    @property
    def sliders(self) -> list[Slider]:
        """All sliders, in the order of the page."""
        return [*self.shown, *self.folded]

    @property
    def name(self) -> str:
        """What saved files begin with."""
        return f"{self.model.data}_{self.model.method}_{self.model.step}"

    @property
    def codes(self) -> list[str]:
        """What can be traversed: each categorical code, and each dimension of continuous ones."""
        return [
            *states.classes(self.model.codes),
            *(f"{slider.code}{slider.axis + 1}" for slider in self.sliders),
        ]

    def large(self, state: State) -> str:
        """The image of a state, as HTML."""
        (image,) = self.model.generate(**states.batch(state))
        return pictures.large(image, self.name, "generated image")

    def drawn(self, seed: int) -> State:
        """All codes from the prior."""
        return states.first(self.model.prior(1, seed=seed))

    def with_noise(self, state: State, seed: int) -> State:
        """The state with the codes that have no slider drawn anew."""
        drawn = self.drawn(seed)
        return state | {name: drawn[name] for name in states.noises(self.model.codes)}

    def with_attribute(self, state: State, attribute: int, value: int, seed: int) -> State:
        """The state with an attribute's part of c drawn from p(c | y) for this value of it."""
        names = self.model.attributes
        y = np.zeros(len(names), np.float32)
        y[attribute] = value
        drawn = states.first(self.model.prior(1, seed=seed, attributes=y))
        return states.with_attribute(state, drawn, attribute, len(names))

    def encoded(self, image: np.ndarray, y: np.ndarray) -> State:
        """The codes of an image uint8 [H, W, C]; y [k] for a model with attributes."""
        attributes = y[None] if self.model.attributes else None
        return states.first(self.model.encode(image[None], attributes))

    def encoded_example(self, number: int) -> State:
        """The codes of a test image."""
        return self.encoded(self.images[number], self.attributes[number])

    def upload(self, data: bytes) -> np.ndarray:
        """A file as the model takes images; UserError says what is wrong with it."""
        return pictures.read_upload(data, self.model.image_shape, _crop(self.model))

    def traversal(self, state: State, code: str) -> str:
        """A strip and an animation of one code moving, as HTML."""
        steps = {"steps": pictures.FRAMES} if code not in self.model.codes else {}
        frames = self.model.traverse(code, start=states.batch(state), **steps)
        every = pictures.EVERY if steps else 1
        return pictures.row(frames, f"{self.name}_{code}", f"traversal of {code}", every)

    def interpolation(self, a: State, b: State) -> str:
        """A strip and an animation from one state to another, as HTML."""
        frames = self.model.generate(**states.between(a, b, pictures.FRAMES))
        return pictures.row(frames, f"{self.name}_interpolation", "interpolation")

    def warm_up(self) -> None:
        """Compiles what moving a control needs, so that the first click waits for nothing."""
        state = self.drawn(0)
        self.large(state)
        if self.model.can_encode and len(self.images):
            a, b = self.encoded_example(0), self.encoded_example(len(self.images) - 1)
            self.interpolation(a, b)
        if self.codes:
            self.traversal(state, self.codes[-1])


def open_run(workdir: pathlib.Path) -> Explorer:
    """The explorer of a run directory.

    Raises:
        UserError: there is no trained model in it. A data set that cannot be read is none: then
            there are no test images, and `note` says so.
    """
    model = library.load(workdir)
    sizes = [code.size for code in model.codes.values() if code.kind == "continuous"]
    kl = states.known_kl(workdir, sum(sizes))
    shown, folded = states.sliders(model.codes, model.attributes, kl)
    images = np.zeros((0, *model.image_shape), np.uint8)
    attributes, note = np.zeros((0, len(model.attributes)), np.float32), ""
    if not model.can_encode:
        note = _why_no_encoder(model)
    else:
        try:
            images, attributes = _examples(model)
        except UserError as error:
            note = f"No test images: {error}"
    return Explorer(model, images, attributes, note, shown, folded)


def _why_no_encoder(model: library.Model) -> str:
    late = model.functions.encodes_after
    if late:
        return (
            f"{model.method} learns to infer codes after step {late} only, and this is step "
            f"{model.step}: images can be generated, not encoded."
        )
    return f"{model.method} has no encoder: images can be generated, not encoded."


def _examples(model: library.Model) -> tuple[np.ndarray, np.ndarray]:
    """Test images and their attributes."""
    # As it is asked for, image by image: a set that the run keeps in memory takes long to fill.
    section = model.config["data"] | {"in_memory": "no"}
    dataset = library.dataset(dataclasses.replace(model, config=model.config | {"data": section}))
    numbers = chosen(dataset, TEST_IMAGES)
    images = np.stack([image for image in take(dataset.test.images, numbers)])
    y = dataset.test.attributes[numbers] if model.attributes else np.zeros((len(images), 0))
    return images, y.astype(np.float32)


def _crop(model: library.Model) -> int | str:
    """As the run's own folder of images was cropped; otherwise the largest square."""
    section = model.config["data"]
    own = section["name"] == "images" and section["crop"] != "default"
    return resize.parse_crop(section["crop"] if own else None, "square")
