"""The methods by name; each is a factory of keyword-only arguments that returns a `Method`."""

from collections.abc import Callable

from ivg.methods import infovaegan, infovaegan_invariant, infovaegan_joint
from ivg.players import Method

METHODS: dict[str, Callable[..., Method]] = {
    "infovaegan": infovaegan.infovaegan,
    "infovaegan_invariant": infovaegan_invariant.infovaegan_invariant,
    "infovaegan_joint": infovaegan_joint.infovaegan_joint,
}
