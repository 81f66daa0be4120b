"""The methods by name; each is a factory of keyword-only arguments that returns a `Method`."""

from collections.abc import Callable

from ivg.methods import (
    csvae,
    gan,
    ibgan,
    infogan,
    infovaegan,
    infovaegan_invariant,
    infovaegan_joint,
    mmvae,
    r_cvae,
    vae,
    wgan_gp,
)
from ivg.players import Method

METHODS: dict[str, Callable[..., Method]] = {
    "beta_vae": vae.vae,
    "csvae": csvae.csvae,
    "gan": gan.gan,
    "ibgan": ibgan.ibgan,
    "infogan": infogan.infogan,
    "infovaegan": infovaegan.infovaegan,
    "infovaegan_invariant": infovaegan_invariant.infovaegan_invariant,
    "infovaegan_joint": infovaegan_joint.infovaegan_joint,
    "mmvae": mmvae.mmvae,
    "r_cvae": r_cvae.r_cvae,
    "vae": vae.vae,
    "wgan_gp": wgan_gp.wgan_gp,
}

# Those that learn from binary attributes; their factories take `num_attributes`.
ATTRIBUTE_METHODS = ("csvae", "mmvae", "r_cvae")
