"""The methods by name; each is a factory of keyword-only arguments that returns a `Method`."""

from collections.abc import Callable

from ivg.methods import (
    ali,
    beta_tcvae,
    csvae,
    dip_vae,
    factorvae,
    gan,
    ibgan,
    infogan,
    infogan_cr,
    infovaegan,
    infovaegan_invariant,
    infovaegan_joint,
    jointvae,
    mixture_vae,
    mmvae,
    r_cvae,
    vae,
    wgan_gp,
)
from ivg.players import Method

METHODS: dict[str, Callable[..., Method]] = {
    "ali": ali.ali,
    "beta_tcvae": beta_tcvae.beta_tcvae,
    "beta_vae": vae.vae,
    "csvae": csvae.csvae,
    "dip_vae": dip_vae.dip_vae,
    "factorvae": factorvae.factorvae,
    "gan": gan.gan,
    "ibgan": ibgan.ibgan,
    "infogan": infogan.infogan,
    "infogan_cr": infogan_cr.infogan_cr,
    "infovaegan": infovaegan.infovaegan,
    "infovaegan_invariant": infovaegan_invariant.infovaegan_invariant,
    "infovaegan_joint": infovaegan_joint.infovaegan_joint,
    "jointvae": jointvae.jointvae,
    "mixture_vae": mixture_vae.mixture_vae,
    "mmvae": mmvae.mmvae,
    "r_cvae": r_cvae.r_cvae,
    "vae": vae.vae,
    "wgan_gp": wgan_gp.wgan_gp,
}

# Those that learn from binary attributes; their factories take `num_attributes`.
ATTRIBUTE_METHODS = ("csvae", "mmvae", "r_cvae")
