"""The methods by name; each is a factory of keyword-only arguments that returns a `Method`."""

from collections.abc import Callable

from ivg.methods import (
    gan,
    ibgan,
    infogan,
    infovaegan,
    infovaegan_invariant,
    infovaegan_joint,
    wgan_gp,
)
from ivg.players import Method

METHODS: dict[str, Callable[..., Method]] = {
    "gan": gan.gan,
    "ibgan": ibgan.ibgan,
    "infogan": infogan.infogan,
    "infovaegan": infovaegan.infovaegan,
    "infovaegan_invariant": infovaegan_invariant.infovaegan_invariant,
    "infovaegan_joint": infovaegan_joint.infovaegan_joint,
    "wgan_gp": wgan_gp.wgan_gp,
}
