"""Networks: pure `init`, `train` and `infer` functions over flax.linen modules.

The only folder that imports flax. A *family* is one published set of architectures that belong
together (generator, encoder, critic, joint discriminator); a method receives a family and never
sees a layer. `FAMILIES` maps a name to a factory, whose keyword-only options are plain numbers:
`FAMILIES["mlp"](width=128).generator((8, 8, 1))`. `CODE_FAMILIES` does the same for the methods
that read their codes back from the discriminator's features: IB-GAN, InfoGAN, GAN;
`ATTRIBUTE_FAMILIES` for those with attributes: MMVAE, CSVAE, r-CVAE; `AUTOENCODER_FAMILIES` for
the VAE and its kin, `MIXTURE_FAMILIES` for the mixture autoencoder. Networks without a family, for
measuring or for playing against a representation, are functions of their own. What networks compute
in is said when a family is asked for: `family("mlp", dtype=jnp.bfloat16)`.
"""

import inspect
from collections.abc import Callable, Mapping

from jax.typing import DTypeLike

from ivg.errors import UserError
from ivg.networks import (
    dlib64,
    ibgan64,
    infogan28,
    infogan28_codes,
    infogancr64,
    infovaegan64,
    jointvae,
    mixture,
    mlp,
    mlp_attributes,
    mlp_autoencoder,
    mlp_codes,
    mmvae64,
    small28,
)
from ivg.networks.blocks import (
    AttributeFamily,
    AutoencoderFamily,
    CodeFamily,
    Family,
    Network,
    network,
)
from ivg.networks.classifier64 import (
    attribute_classifier,
    check_classifier,
    classifier_features,
)
from ivg.networks.mixture import MixtureFamily
from ivg.networks.precision import family_in
from ivg.networks.statistics import code_discriminator, label_network, statistics_network

FAMILIES: dict[str, Callable[..., Family]] = {
    "mlp": mlp.mlp,
    "small28": small28.small28,
    "infogan28": infogan28.infogan28,
    "infovaegan64": infovaegan64.infovaegan64,
    "infogancr64": infogancr64.infogancr64_family,
}

CODE_FAMILIES: dict[str, Callable[..., CodeFamily]] = {
    "mlp": mlp_codes.mlp_codes,
    "infogan28": infogan28_codes.infogan28_codes,
    "ibgan64": ibgan64.ibgan64,
    "infogancr64": infogancr64.infogancr64,
}

ATTRIBUTE_FAMILIES: dict[str, Callable[..., AttributeFamily]] = {
    "mlp": mlp_attributes.mlp_attributes,
    "mmvae64": mmvae64.mmvae64,
}

AUTOENCODER_FAMILIES: dict[str, Callable[..., AutoencoderFamily]] = {
    "mlp": mlp_autoencoder.mlp_autoencoder,
    "dlib64": dlib64.dlib64,
    "jointvae": jointvae.jointvae,
}

MIXTURE_FAMILIES: dict[str, Callable[..., MixtureFamily]] = {
    "mlp": mixture.mixture_mlp,
    "mixture64": mixture.mixture64,
}

__all__ = [
    "ATTRIBUTE_FAMILIES",
    "AUTOENCODER_FAMILIES",
    "CODE_FAMILIES",
    "FAMILIES",
    "MIXTURE_FAMILIES",
    "AttributeFamily",
    "AutoencoderFamily",
    "CodeFamily",
    "Family",
    "MixtureFamily",
    "Network",
    "attribute_classifier",
    "attribute_family",
    "autoencoder_family",
    "check_classifier",
    "classifier_features",
    "code_discriminator",
    "code_family",
    "family",
    "label_network",
    "mixture_family",
    "network",
    "statistics_network",
]


def family(name: str, *, dtype: DTypeLike | None = None, **options) -> Family:
    """A family by name, with its options.

    `dtype` is what its networks compute in, None for float32; see `ivg.networks.precision`.

    Raises:
      UserError: there is no such family, or it has no such option.

    Examples:
      >>> from ivg import networks
      >>> encoder = networks.family("mlp", width=16).encoder((2, 10))  # sizes of its heads
      >>> x = jnp.zeros((4, 8, 8, 1))
      >>> params, stats = jax.jit(encoder.init)(jax.random.key(0), x)
      >>> [head.shape for head in jax.jit(encoder.infer)(params, stats, x)]
      [(4, 2), (4, 10)]
    """
    return family_in(dtype, _factory(FAMILIES, name, options)(**options))


def code_family(name: str, *, dtype: DTypeLike | None = None, **options) -> CodeFamily:
    """A family of the GANs with codes by name, with its options.

    `dtype` is what its networks compute in, None for float32; see `ivg.networks.precision`.

    Raises:
      UserError: there is no such family, or it has no such option.
    """
    return family_in(dtype, _factory(CODE_FAMILIES, name, options)(**options))


def attribute_family(name: str, *, dtype: DTypeLike | None = None, **options) -> AttributeFamily:
    """A family of the autoencoders with attributes by name, with its options.

    `dtype` is what its networks compute in, None for float32; see `ivg.networks.precision`.

    Raises:
      UserError: there is no such family, or it has no such option.
    """
    return family_in(dtype, _factory(ATTRIBUTE_FAMILIES, name, options)(**options))


def autoencoder_family(
    name: str, *, dtype: DTypeLike | None = None, **options
) -> AutoencoderFamily:
    """A family of the variational autoencoders by name, with its options.

    `dtype` is what its networks compute in, None for float32; see `ivg.networks.precision`.

    Raises:
      UserError: there is no such family, or it has no such option.
    """
    return family_in(dtype, _factory(AUTOENCODER_FAMILIES, name, options)(**options))


def mixture_family(name: str, *, dtype: DTypeLike | None = None, **options) -> MixtureFamily:
    """A family of the mixture autoencoder by name, with its options.

    `dtype` is what its networks compute in, None for float32; see `ivg.networks.precision`.

    Raises:
      UserError: there is no such family, or it has no such option.
    """
    return family_in(dtype, _factory(MIXTURE_FAMILIES, name, options)(**options))


def _factory(families: Mapping[str, Callable], name: str, options: Mapping) -> Callable:
    if name not in families:
        raise UserError(
            f'there is no network family "{name}" for this method: use {", ".join(families)}'
        )
    known = inspect.signature(families[name]).parameters
    for option in options:
        if option not in known:
            raise UserError(
                f'the {name} networks have no option "{option}": use {", ".join(known)}'
            )
    return families[name]
