"""Networks: pure `init`, `train` and `infer` functions over flax.linen modules.

The only folder that imports flax. A *family* is one published set of architectures that belong
together (generator, encoder, critic, joint discriminator); a method receives a family and never
sees a layer. `FAMILIES` maps a name to a factory, whose keyword-only options are plain numbers:
`FAMILIES["mlp"](width=128).generator((8, 8, 1))`.
"""

import inspect
from collections.abc import Callable

from ivg.errors import UserError
from ivg.networks import infogan28, infovaegan64, mlp, small28
from ivg.networks.blocks import Family, Network, network

FAMILIES: dict[str, Callable[..., Family]] = {
    "mlp": mlp.mlp,
    "small28": small28.small28,
    "infogan28": infogan28.infogan28,
    "infovaegan64": infovaegan64.infovaegan64,
}

__all__ = ["FAMILIES", "Family", "Network", "family", "network"]


def family(name: str, **options) -> Family:
    """A family by name, with its options.

    Raises:
      UserError: there is no such family, or it has no such option.
    """
    if name not in FAMILIES:
        raise UserError(f'there is no network family "{name}": use {", ".join(FAMILIES)}')
    factory = FAMILIES[name]
    known = inspect.signature(factory).parameters
    for option in options:
        if option not in known:
            raise UserError(
                f'the {name} networks have no option "{option}": use {", ".join(known)}'
            )
    return factory(**options)
