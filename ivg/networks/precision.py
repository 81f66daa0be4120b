"""Networks that compute in bfloat16, while all that training keeps and compares is float32.

Mixed precision (Micikevicius et al., ICLR 2018), without their scaling of the loss: bfloat16 has
float32's range. On the way in a network's inputs are rounded; the layers of `blocks` compute in the
dtype of their input, with parameters rounded where they are used; on the way out the outputs become
float32. So the parameters and their gradients, the optimisers, the statistics of norms, the losses,
penalties and metrics are float32, and activations take half the memory.

The networks of information bounds (`statistics_network`, `label_network`) stay in float32: what
they measure is the difference of two averages, one of them of exp(T), so that a rounding of T by
2^-9 would be as large as the information itself; and they are small.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ivg.networks.blocks import Network

FamilyLike = TypeVar("FamilyLike", bound=tuple)  # a NamedTuple of makers of networks, and `check`


def computing_in(dtype: DTypeLike | None, one: Network) -> Network:
    """A network that computes in `dtype` and gives float32.

    Args:
      dtype: of its activations; None leaves the network as it is.
      one: the network. Its parameters and statistics stay what they are, and its `init`.

    Returns:
      The network; its inputs may be of any dtype but that of keys.
    """
    if dtype is None:
        return one

    def rounded(inputs: tuple[Any, ...]) -> Any:
        return jax.tree.map(lambda x: jnp.asarray(x, dtype), inputs)

    def train(params: Any, stats: Any, *inputs: jax.Array) -> tuple[Any, Any]:
        outputs, stats = one.train(params, stats, *rounded(inputs))
        return _float32(outputs), stats

    def infer(params: Any, stats: Any, *inputs: jax.Array) -> Any:
        return _float32(one.infer(params, stats, *rounded(inputs)))

    return one._replace(train=train, infer=infer)


def family_in(dtype: DTypeLike | None, family: FamilyLike) -> FamilyLike:
    """A family all of whose networks compute in `dtype`; see `computing_in`."""
    if dtype is None:
        return family

    def maker(make: Callable[..., Network]) -> Callable[..., Network]:
        return lambda *sizes: computing_in(dtype, make(*sizes))

    makers = {name: make for name, make in family._asdict().items() if name != "check"}
    return family._replace(**{name: maker(make) for name, make in makers.items()})


def _float32(outputs: Any) -> Any:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), outputs)
