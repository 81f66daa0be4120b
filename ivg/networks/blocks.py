"""The vocabulary of all networks: `Network`, `Family`, and the layers that families are made of.

Layers are plain functions to be called inside a linen module's `@nn.compact` method. Images are
NHWC in [-1, 1]. No layer knows the batch size.

A layer computes in the dtype of its input: float32, or bfloat16 where `ivg.networks.precision`
hands it that. Parameters are float32 in either case, and so are the statistics of the norms, the
linear outputs (`readout`) and the last nonlinearity of images (`tanh`): 8 bits are enough for
activations, not for averages, codes, logits and pixels.

Biases that a batch norm follows are left out here, although some released codes carry them: the
norm subtracts them again, so their exact gradient is 0, and an adaptive optimiser would turn its
rounding noise into a random walk (which differs from one device count to another).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ivg.errors import UserError
from ivg.networks import strided

Array = jax.Array
Initializer = Callable[..., Array]
Norm = Callable[[Array], Array]
ImageShape = tuple[int, int, int]  # height, width, channels

# Initialisers, named by what they are; the families say which source uses which.
HE = (
    nn.initializers.he_normal()
)  # He et al. 2015, eq. 10: variance 2 / fan_in, keeps ReLU layers alive
LECUN = nn.initializers.lecun_normal()  # variance 1 / fan_in, for layers that no ReLU follows
GLOROT = nn.initializers.glorot_uniform()  # TensorFlow's and Keras' default for every layer
NORMAL_002 = nn.initializers.normal(0.02)  # Radford et al. 2016 (DCGAN)
# Cut at two standard deviations of the parent normal, as TensorFlow does: actual std 0.0176.
TRUNCATED_002 = nn.initializers.truncated_normal(0.02)


class Network(NamedTuple):
    """One network as three pure functions of arrays.

    Attributes:
      init: `init(key, *inputs) -> (params, stats)`. `inputs` only lend their shapes; `stats` holds
        the running averages of batch norm and is `{}` for a network without batch norm.
      train: `train(params, stats, *inputs) -> (outputs, stats)`. Batch norm normalises by the
        statistics of this batch and moves its running averages.
      infer: `infer(params, stats, *inputs) -> outputs`. Batch norm normalises by its running
        averages: the outputs for one example do not depend on the others.
    """

    init: Callable[..., tuple[Any, Any]]
    train: Callable[..., tuple[Any, Any]]
    infer: Callable[..., Any]


class Family(NamedTuple):
    """One set of architectures that belong together.

    Attributes:
      generator: `generator(image_shape)`, a network from latents `[B, n]` to images
        `[B, H, W, C]` in [-1, 1]. Raises `UserError` where `check` does.
      encoder: `encoder(sizes)`, a network from images to a tuple of linear heads `[B, size]`, one
        per entry of `sizes`, on one shared trunk.
      critic: `critic()`, a network from images to scores `[B]`. Never batch norm: the penalty of
        WGAN-GP constrains the gradient of each score with respect to its own image only.
      joint_discriminator: `joint_discriminator()`, a network from images and codes `[B, m]` to
        logits `[B]`. May use batch norm.
      check: `check(image_shape)` raises `UserError` for a size that the family cannot take.
    """

    generator: Callable[[ImageShape], Network]
    encoder: Callable[[tuple[int, ...]], Network]
    critic: Callable[[], Network]
    joint_discriminator: Callable[[], Network]
    check: Callable[[ImageShape], None]


class CodeFamily(NamedTuple):
    """Architectures of GANs whose codes are read back from the image: IB-GAN, InfoGAN, GAN.

    Attributes:
      representation: `representation(size)`, a network from `[B, n]` to the mean and the
        log-variance of a Gaussian, `[B, size]` each.
      generator: `generator(image_shape)`, as in `Family`.
      discriminator: `discriminator()`, a network from images to `(logits [B], features)`.
      reconstructor: `reconstructor(sizes)`, a network from the discriminator's features to a tuple
        of linear heads `[B, size]`. Where the two share no trunk, the features are the images.
      pair_classifier: `pair_classifier(size)`, a network from two images, stacked along their
        channels `[B, H, W, 2C]`, to logits `[B, size]` (InfoGAN-CR).
      check: `check(image_shape)` raises `UserError` for a size that the family cannot take.
    """

    representation: Callable[[int], Network]
    generator: Callable[[ImageShape], Network]
    discriminator: Callable[[], Network]
    reconstructor: Callable[[tuple[int, ...]], Network]
    pair_classifier: Callable[[int], Network]
    check: Callable[[ImageShape], None]


class AttributeFamily(NamedTuple):
    """Architectures of autoencoders that keep attributes apart: MMVAE, CSVAE, r-CVAE.

    Attributes:
      encoder: `encoder(dim_z, num_attributes)`, a network from images `[B, H, W, C]` and labels in
        {0, 1}, `[B, k]`, to means and log-variances (z_mean, z_log_var `[B, dim_z]`, c_mean,
        c_log_var `[B, 2k]`). Those of z do not depend on the labels.
      decoder: `decoder(image_shape)`, a network from z `[B, dim_z]` and c `[B, 2k]` to images
        `[B, H, W, C]` in [-1, 1]. Raises `UserError` where `check` does.
      check: `check(image_shape)` raises `UserError` for a size that the family cannot take.
    """

    encoder: Callable[[int, int], Network]
    decoder: Callable[[ImageShape], Network]
    check: Callable[[ImageShape], None]


class AutoencoderFamily(NamedTuple):
    """Architectures of variational autoencoders.

    Attributes:
      encoder: `encoder(sizes)`, a network from images `[B, H, W, C]` in [-1, 1] to a tuple of
        linear heads `[B, size]`, one per entry of `sizes`, on one shared trunk.
      decoder: `decoder(image_shape)`, a network from latents `[B, n]` to `[B, H, W, C]` without a
        last nonlinearity: the logits of a Bernoulli likelihood, or what tanh makes the mean of a
        Gaussian one. Raises `UserError` where `check` does.
      check: `check(image_shape)` raises `UserError` for a size that the family cannot take.
    """

    encoder: Callable[[tuple[int, ...]], Network]
    decoder: Callable[[ImageShape], Network]
    check: Callable[[ImageShape], None]


def network(module: nn.Module) -> Network:
    """Makes a `Network` of a linen module whose call is `module(*inputs, train: bool)`."""

    def init(key: Array, *inputs: Array) -> tuple[Any, Any]:
        variables = module.init(key, *inputs, train=False)
        return variables["params"], variables.get("batch_stats", {})

    def train(params: Any, stats: Any, *inputs: Array) -> tuple[Any, Any]:
        variables = {"params": params, "batch_stats": stats}
        outputs, changed = module.apply(variables, *inputs, train=True, mutable=["batch_stats"])
        return outputs, changed.get("batch_stats", {})

    def infer(params: Any, stats: Any, *inputs: Array) -> Any:
        return module.apply({"params": params, "batch_stats": stats}, *inputs, train=False)

    return Network(init=init, train=train, infer=infer)


def make_family(
    *,
    generator: type[nn.Module],
    encoder: type[nn.Module],
    critic: type[nn.Module],
    joint_discriminator: type[nn.Module],
    check: Callable[[ImageShape], None],
    width: float,
) -> Family:
    """The family of four linen modules that all take one width multiplier.

    Raises:
      UserError: the width is not positive.
    """
    require_width(width)

    def checked_generator(image_shape: ImageShape) -> Network:
        check(image_shape)
        return network(generator(image_shape=tuple(image_shape), width=width))

    return Family(
        generator=checked_generator,
        encoder=lambda sizes: network(encoder(sizes=tuple(sizes), width=width)),
        critic=lambda: network(critic(width=width)),
        joint_discriminator=lambda: network(joint_discriminator(width=width)),
        check=check,
    )


def dense(x: Array, features: int, *, init: Initializer, bias: bool = True) -> Array:
    """Fully connected layer, `[B, n]` to `[B, features]`."""
    return nn.Dense(features, use_bias=bias, kernel_init=init, dtype=dtype_of(x))(x)


def readout(x: Array, features: int, *, init: Initializer, bias: bool = True) -> Array:
    """A last fully connected layer, `[B, n]` to `[B, features]`, in at least float32."""
    return dense(widened(x), features, init=init, bias=bias)


def tanh(x: Array) -> Array:
    """Hyperbolic tangent in at least float32: bfloat16 near 1 is coarser than half a grey level."""
    return jnp.tanh(widened(x))


def widened(x: Array) -> Array:
    """The same numbers in at least float32."""
    dtype = dtype_of(x)
    return jnp.asarray(x, jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype)


def dtype_of(x: Array) -> Any:
    """What a layer computes in: the dtype of its input, float32 for booleans and integers."""
    dtype = jnp.result_type(x)
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.float32


class Strided(nn.Module):
    """A convolution of stride 2 or its transpose, with the parameters of `nn.Conv`."""

    function: Callable[[Array, Array], Array]
    channels: int
    kernel: int
    bias: bool
    init_weights: Initializer

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[B, H, W, n]` to `[B, H/2, W/2, channels]`, or to `[B, 2H, 2W, channels]`."""
        shape = (self.kernel, self.kernel, x.shape[-1], self.channels)
        kernel = self.param("kernel", self.init_weights, shape)
        y = self.function(x, jnp.asarray(kernel, dtype_of(x)))
        if not self.bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        return y + jnp.asarray(bias, y.dtype).reshape(1, 1, 1, -1)


def conv(
    x: Array, channels: int, *, kernel: int, stride: int, init: Initializer, bias: bool = True
) -> Array:
    """Convolution with SAME padding, `[B, H, W, C]` to `[B, H/stride, W/stride, channels]`."""
    if _has_fast_form(kernel, stride) and x.shape[1] % 2 == x.shape[2] % 2 == 0:
        return Strided(strided.down, channels, kernel, bias, init)(x)
    return _plain(nn.Conv, x, channels, kernel=kernel, stride=stride, init=init, bias=bias)


def deconv(
    x: Array, channels: int, *, kernel: int, stride: int, init: Initializer, bias: bool = True
) -> Array:
    """Transposed convolution, SAME padding, to `[B, H*stride, W*stride, channels]`."""
    if _has_fast_form(kernel, stride):
        return Strided(strided.up, channels, kernel, bias, init)(x)
    return _plain(nn.ConvTranspose, x, channels, kernel=kernel, stride=stride, init=init, bias=bias)


def _plain(
    layer: type[nn.Module],
    x: Array,
    channels: int,
    *,
    kernel: int,
    stride: int,
    init: Initializer,
    bias: bool,
) -> Array:
    """A convolution of flax, or its transpose, in the dtype of its input."""
    made = layer(
        channels,
        (kernel, kernel),
        strides=(stride, stride),
        use_bias=bias,
        kernel_init=init,
        dtype=dtype_of(x),
    )
    return made(x)


def _has_fast_form(kernel: int, stride: int) -> bool:
    return stride == 2 and kernel in (3, 4)


def batch_norm(x: Array, *, train: bool, scale_init: Initializer = nn.initializers.ones) -> Array:
    """Batch norm over all axes but the last, momentum 0.9 (PyTorch's 0.1), epsilon 1e-5.

    The statistics are those of the global batch under `jit` with a sharded batch axis.
    """
    layer = nn.BatchNorm(
        use_running_average=not train, momentum=0.9, epsilon=1e-5, scale_init=scale_init
    )
    return jnp.asarray(layer(widened(x)), dtype_of(x))


def layer_norm(x: Array) -> Array:
    """Layer norm over all axes but the first, gain and offset per channel, epsilon 1e-5.

    For images this is the norm over height, width and channels together that WGAN-GP's authors
    put into their critics (Gulrajani et al. 2017, section 4).
    """
    # The two-pass variance: E[x^2] - E[x]^2 cancels badly, and the penalty differentiates twice.
    axes = tuple(range(1, x.ndim))
    layer = nn.LayerNorm(epsilon=1e-5, reduction_axes=axes, use_fast_variance=False)
    return jnp.asarray(layer(widened(x)), dtype_of(x))


def relu(x: Array) -> Array:
    """ReLU: x where positive, 0 elsewhere, where its gradient is 0 too; NaN stays NaN.

    As a choice, not a maximum, which XLA's CPU backend would compute again for each reader of it,
    in the transposition before a kernel gradient as well: conv, ReLU and conv with all their
    gradients are 1.2 times as fast this way (one thread, 32x32x32 to 16x16x32, batch 64).
    """
    return jnp.where(x <= 0, jnp.zeros_like(x), x)


def leaky_relu(x: Array, slope: float) -> Array:
    """Leaky ReLU: x where positive, `slope * x` elsewhere."""
    return nn.leaky_relu(x, slope)


def flatten(x: Array) -> Array:
    """`[B, ...]` to `[B, n]`."""
    return x.reshape(x.shape[0], -1)


def join(x: Array, u: Array) -> Array:
    """Concatenates features `[B, n]` and codes `[B, m]`."""
    return jnp.concatenate([x, u], axis=-1)


def heads(x: Array, sizes: tuple[int, ...], *, init: Initializer) -> tuple[Array, ...]:
    """Linear heads `[B, size]`, one per entry of `sizes`, on features `[B, n]`."""
    return tuple(readout(x, size, init=init) for size in sizes)


def score(x: Array, *, init: Initializer) -> Array:
    """Critic's output `[B]`, without a bias.

    A constant added to every score changes neither the Wasserstein losses nor the penalty, so the
    bias' exact gradient is 0 and only rounding noise would move it.
    """
    return readout(x, 1, init=init, bias=False)[:, 0]


def logit(x: Array, *, init: Initializer) -> Array:
    """Discriminator's output `[B]`."""
    return readout(x, 1, init=init)[:, 0]


def scaled(channels: int, width: float) -> int:
    """Number of channels at a width multiplier, at least one."""
    return max(1, round(channels * width))


def require_width(width: float) -> None:
    """Raises `UserError` unless the width (or width multiplier) is positive."""
    if not width > 0:
        raise UserError(f"the networks' width must be positive, not {width}")


def require_units(width: float) -> int:
    """The width of perceptrons; raises `UserError` unless it is a positive whole number."""
    require_width(width)
    if width != int(width):
        raise UserError(f"width is the mlp networks' number of hidden units, not {width}: use 128")
    return int(width)


def require_size(family: str, image_shape: ImageShape, *, fits: bool, takes: str, use: int) -> None:
    """Raises `UserError` where an image size does not fit a family.

    Args:
      family: name of the family.
      image_shape: the size that was given.
      fits: whether the family can take it.
      takes: the sizes that it takes, in words.
      use: nearest side that it takes.
    """
    height, width, _ = image_shape
    if not fits:
        raise UserError(
            f"the {family} networks take {takes}, not {height}x{width}: "
            f"use --config.data.image_size={use}"
        )
