"""The networks of `ivg.networks` in plain PyTorch, for `experiments.bench_step` to race against.

Layer for layer those of `ibgan64`, `infogan28`, `dlib64`, `jointvae`, `mmvae64` and of the
perceptrons on codes, without the biases that a batch norm would undo: both sides have the same
parameters, which the bench asserts. Images are NCHW in [-1, 1]; initial weights are PyTorch's,
since no layer's speed depends on them. A dense layer over an 8x8 map is `Linear`, as on our side.
"""

import torch
from torch import Tensor, nn

from ivg.networks.blocks import scaled


def conv(n: int, m: int, kernel: int, stride: int, *, bias: bool = True) -> nn.Module:
    """Convolution `[B, n, H, W]` to `[B, m, H / stride, W / stride]`."""
    return nn.Conv2d(n, m, kernel, stride, padding=(kernel - stride + 1) // 2, bias=bias)


def deconv(n: int, m: int, kernel: int, stride: int, *, bias: bool = True) -> nn.Module:
    """Transposed convolution `[B, n, H, W]` to `[B, m, H * stride, W * stride]`."""
    padding = (kernel - stride + 1) // 2
    return nn.ConvTranspose2d(n, m, kernel, stride, padding=padding, bias=bias)


def relu() -> nn.Module:
    """ReLU that overwrites its input, which no layer before it needs again."""
    return nn.ReLU(inplace=True)


def leaky(slope: float, *, inplace: bool = True) -> nn.Module:
    """Leaky ReLU, overwriting its input unless it is differentiated twice."""
    return nn.LeakyReLU(slope, inplace=inplace)


def dense_norm(n: int, m: int, activation: nn.Module) -> list[nn.Module]:
    """A dense layer, batch norm and an activation."""
    return [nn.Linear(n, m, bias=False), nn.BatchNorm1d(m), activation]


def conv_norm(n: int, m: int, kernel: int, stride: int, activation: nn.Module) -> list[nn.Module]:
    """A convolution, batch norm and an activation."""
    return [conv(n, m, kernel, stride, bias=False), nn.BatchNorm2d(m), activation]


def deconv_norm(n: int, m: int, kernel: int, stride: int) -> list[nn.Module]:
    """A transposed convolution, batch norm and ReLU."""
    return [deconv(n, m, kernel, stride, bias=False), nn.BatchNorm2d(m), relu()]


class Heads(nn.Module):
    """Linear heads `[B, size]` on `body`'s features; one product for all of them."""

    def __init__(self, body: nn.Module, features: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.body, self.sizes = body, sizes
        self.heads = nn.Linear(features, sum(sizes))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The heads of a batch."""
        return self.heads(self.body(x)).split(self.sizes, dim=1)


class Pixels(nn.Module):
    """Images in [-1, 1] as [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """Images of any shape."""
        return 0.5 * (x + 1.0)


# ---- IB-GAN --------------------------------------------------------------------------------------


def ibgan_representation(dim_z: int, dim_r: int, *, shared: bool) -> nn.Module:
    """e(r | z), `[B, dim_z]` to mean and log-variance."""
    layers: list[nn.Module] = []
    sizes = (dim_z, 64, 64, 32) if shared else (dim_z, 32, 32)
    for n, m in zip(sizes, sizes[1:], strict=False):
        layers += dense_norm(n, m, relu()) if shared else [nn.Linear(n, m), relu()]
    return Heads(nn.Sequential(*layers), sizes[-1], (dim_r, dim_r))


def ibgan_generator(dim_r: int, channels: int, *, ngf: int) -> nn.Module:
    """R `[B, dim_r]` to images of 64x64."""
    base = 4 * ngf
    return nn.Sequential(
        *dense_norm(dim_r, 16 * ngf, relu()),
        *dense_norm(16 * ngf, 64 * base, relu()),
        nn.Unflatten(1, (base, 8, 8)),
        *deconv_norm(base, base, 3, 1),
        *deconv_norm(base, base, 3, 1),
        *deconv_norm(base, base // 2, 4, 2),
        *deconv_norm(base // 2, base // 4, 4, 2),
        deconv(base // 4, channels, 4, 2),
        nn.Tanh(),
    )


def ibgan_trunk(channels: int, ndf: int) -> list[nn.Module]:
    """Images of 64x64 to `[B, 4 ndf, 8, 8]`."""
    return [
        *(conv(channels, ndf, 4, 2), leaky(0.2)),
        *conv_norm(ndf, 2 * ndf, 4, 2, leaky(0.2)),
        *conv_norm(2 * ndf, 4 * ndf, 4, 2, leaky(0.2)),
    ]


def ibgan_head(ndf: int, *, shared: bool) -> list[nn.Module]:
    """The trunk's features to `[B, 16 ndf]`."""
    sizes = (4 * ndf, 4 * ndf, 4 * ndf) if shared else (4 * ndf, 8 * ndf)
    layers: list[nn.Module] = []
    for n, m in zip(sizes, sizes[1:], strict=False):
        layers += conv_norm(n, m, 3, 1, leaky(0.2))
    return [*layers, nn.Flatten(), *dense_norm(64 * sizes[-1], 16 * ndf, leaky(0.2))]


class IBGANDiscriminator(nn.Module):
    """Images to logits `[B]` and what the reconstructor reads."""

    def __init__(self, channels: int, *, ndf: int, shared: bool) -> None:
        super().__init__()
        self.shared = shared
        self.trunk = nn.Sequential(*ibgan_trunk(channels, ndf))
        self.head = nn.Sequential(*ibgan_head(ndf, shared=shared), nn.Linear(16 * ndf, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images `[B, C, 64, 64]`."""
        features = self.trunk(x)
        return self.head(features)[:, 0], features if self.shared else x


def ibgan_reconstructor(channels: int, dim_z: int, *, ndf: int, shared: bool) -> nn.Module:
    """q(z | x) on the discriminator's trunk, or on images."""
    layers = ibgan_head(ndf, shared=shared)
    if not shared:
        layers = [*ibgan_trunk(channels, ndf), *layers]
        layers += dense_norm(16 * ndf, 16 * ndf, leaky(0.2))
    return Heads(nn.Sequential(*layers), 16 * ndf, (dim_z,))


# ---- InfoGAN's MNIST networks, for InfoVAEGAN ----------------------------------------------------


def infogan28_generator(dim: int, shape: tuple[int, int, int], *, width: float) -> nn.Module:
    """Latents `[B, dim]` to images."""
    height, side, channels = shape
    units, wide, narrow = (scaled(n, width) for n in (1024, 128, 64))
    return nn.Sequential(
        *dense_norm(dim, units, relu()),
        *dense_norm(units, height // 4 * (side // 4) * wide, relu()),
        nn.Unflatten(1, (wide, height // 4, side // 4)),
        *deconv_norm(wide, narrow, 4, 2),
        deconv(narrow, channels, 4, 2),
        nn.Tanh(),
    )


def infogan28_encoder(
    shape: tuple[int, int, int], sizes: tuple[int, ...], *, width: float
) -> nn.Module:
    """Images to linear heads."""
    height, side, channels = shape
    narrow, wide, units, few = (scaled(n, width) for n in (64, 128, 1024, 128))
    body = nn.Sequential(
        *(conv(channels, narrow, 4, 2), leaky(0.01)),
        *conv_norm(narrow, wide, 4, 2, leaky(0.01)),
        nn.Flatten(),
        *dense_norm(height // 4 * (side // 4) * wide, units, leaky(0.01)),
        *dense_norm(units, few, leaky(0.01)),
    )
    return Heads(body, few, sizes)


def infogan28_critic(shape: tuple[int, int, int], *, width: float) -> nn.Module:
    """Images to scores `[B]`; layer norm over all of an image, a gain for each channel."""
    height, side, channels = shape
    narrow, wide, units = (scaled(n, width) for n in (64, 128, 1024))
    return nn.Sequential(
        *(conv(channels, narrow, 4, 2), leaky(0.01, inplace=False)),
        *(conv(narrow, wide, 4, 2), nn.GroupNorm(1, wide), leaky(0.01, inplace=False)),
        nn.Flatten(),
        nn.Linear(height // 4 * (side // 4) * wide, units),
        *(nn.LayerNorm(units), leaky(0.01, inplace=False)),
        nn.Linear(units, 1, bias=False),
        nn.Flatten(0),
    )


# ---- autoencoders --------------------------------------------------------------------------------


def dlib64_encoder(channels: int, sizes: tuple[int, ...]) -> nn.Module:
    """disentanglement_lib's encoder of 64x64."""
    body = nn.Sequential(
        Pixels(),
        *(conv(channels, 32, 4, 2), relu()),
        *(conv(32, 32, 4, 2), relu()),
        *(conv(32, 64, 2, 2), relu()),
        *(conv(64, 64, 2, 2), relu()),
        *(nn.Flatten(), nn.Linear(1024, 256), relu()),
    )
    return Heads(body, 256, sizes)


def dlib64_decoder(dim: int, channels: int) -> nn.Module:
    """disentanglement_lib's decoder: latents to logits of 64x64."""
    return nn.Sequential(
        *(nn.Linear(dim, 256), relu()),
        *(nn.Linear(256, 1024), relu(), nn.Unflatten(1, (64, 4, 4))),
        *(deconv(64, 64, 4, 2), relu()),
        *(deconv(64, 32, 4, 2), relu()),
        *(deconv(32, 32, 4, 2), relu()),
        deconv(32, channels, 4, 2),
    )


def jointvae_encoder(shape: tuple[int, int, int], sizes: tuple[int, ...]) -> nn.Module:
    """JointVAE's encoder of 32x32 or 64x64."""
    height, _, channels = shape
    counts = (channels, 32, 64, 64) if height == 32 else (channels, 32, 32, 64, 64)
    layers: list[nn.Module] = [Pixels()]
    for n, m in zip(counts, counts[1:], strict=False):
        layers += [conv(n, m, 4, 2), relu()]
    return Heads(nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 256), relu()), 256, sizes)


def jointvae_decoder(dim: int, shape: tuple[int, int, int]) -> nn.Module:
    """JointVAE's decoder: latents to logits."""
    height, _, channels = shape
    counts = (64, 32, 32) if height == 32 else (64, 64, 32, 32)
    layers: list[nn.Module] = [nn.Linear(dim, 256), relu(), nn.Linear(256, 1024), relu()]
    layers.append(nn.Unflatten(1, (64, 4, 4)))
    for n, m in zip(counts, counts[1:], strict=False):
        layers += [deconv(n, m, 4, 2), relu()]
    return nn.Sequential(*layers, deconv(counts[-1], channels, 4, 2))


def with_maps(x: Tensor, codes: Tensor) -> Tensor:
    """Features `[B, n, h, w]` with codes `[B, m]` as m more maps."""
    maps = codes[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return torch.cat([x, maps], dim=1)


class MMVAEEncoder(nn.Module):
    """q(z | x) and q(c | x, y) of 64x64: means and log-variances."""

    def __init__(self, channels: int, dim_z: int, attributes: int, *, width: float) -> None:
        super().__init__()
        first, second, third, wide, widest = (scaled(n, width) for n in (32, 64, 128, 256, 512))
        k = 2 * attributes
        self.trunk = nn.Sequential(
            *conv_norm(channels, first, 4, 2, leaky(0.2)),
            *conv_norm(first, second, 4, 2, leaky(0.2)),
            *conv_norm(second, third, 4, 2, leaky(0.2)),
        )
        self.of_z = nn.Sequential(
            *conv_norm(third, wide, 4, 2, leaky(0.2)),
            *conv_norm(wide, widest, 4, 2, leaky(0.2)),
            nn.Flatten(),
            nn.Linear(4 * widest, 2 * dim_z),
        )
        self.of_c = nn.Sequential(*conv_norm(third + k, wide, 4, 2, leaky(0.2)))
        self.of_c_again = nn.Sequential(*conv_norm(wide + k, wide, 4, 2, leaky(0.2)), nn.Flatten())
        self.heads_c = nn.Linear(4 * wide + k, 2 * k)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """Images `[B, C, 64, 64]` and labels `[B, k]`."""
        x, labels = self.trunk(x), torch.cat([1.0 - y, y], dim=1)
        c = self.of_c_again(with_maps(self.of_c(with_maps(x, labels)), labels))
        c = self.heads_c(torch.cat([c, labels], dim=1))
        return *self.of_z(x).chunk(2, dim=1), *c.chunk(2, dim=1)


class MMVAEDecoder(nn.Module):
    """p(x | z, c) of 64x64, with c at the input of every stage."""

    def __init__(self, channels: int, dim_z: int, attributes: int, *, width: float) -> None:
        super().__init__()
        k = 2 * attributes
        counts = tuple(scaled(n, width) for n in (512, 256, 128, 64, 32))
        units = 4 * counts[0]
        first = dense_norm(dim_z + k, units, relu())
        self.first = nn.Sequential(*first, nn.Unflatten(1, (counts[0], 2, 2)))
        stages = [nn.Sequential(*deconv_norm(n + k, m, 4, 2))
                  for n, m in zip(counts, counts[1:], strict=False)]  # fmt: skip
        stages.append(nn.Sequential(deconv(counts[-1] + k, channels, 4, 2), nn.Tanh()))
        self.stages = nn.ModuleList(stages)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Codes `[B, dim_z]` and `[B, 2k]` to images."""
        x = self.first(torch.cat([z, c], dim=1))
        for stage in self.stages:
            x = stage(with_maps(x, c))
        return x


# ---- perceptrons on codes ------------------------------------------------------------------------


def code_discriminator(dim: int, *, width: int, depth: int) -> nn.Module:
    """FactorVAE's discriminator of codes, to two logits."""
    sizes = (dim, *[width] * depth)
    layers: list[nn.Module] = []
    for n, m in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(n, m), leaky(0.2)]
    return nn.Sequential(*layers, nn.Linear(width, 2))


def statistics(dim: int, *, width: int, depth: int) -> nn.Module:
    """T of MMVAE's bounds, from pairs side by side `[B, dim]` to scores `[B]`."""
    sizes = (dim, *[width] * depth)
    layers: list[nn.Module] = []
    for n, m in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(n, m), relu()]
    return nn.Sequential(*layers, nn.Linear(width, 1, bias=False), nn.Flatten(0))
