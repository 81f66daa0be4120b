"""The autoencoders' training steps in plain PyTorch, as `ivg.methods` has them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments import bench_step_networks as net
from experiments.bench_step_players import (
    Game,
    Losses,
    Player,
    Setting,
    descend,
    frozen,
    gumbel_softmax,
    kl_standard,
    kl_uniform,
    line,
    move,
    player,
    sample,
)


def negative_log_likelihood(x: Tensor, logits: Tensor) -> Tensor:
    """-log p(x | z) of a Bernoulli, mean over the batch; images in [-1, 1]."""
    pixels = 0.5 * (x + 1.0)
    loss = functional.binary_cross_entropy_with_logits(logits, pixels, reduction="sum")
    return loss / len(x)


def dlib(setting: Setting) -> tuple[nn.Module, nn.Module, dict[str, Player]]:
    """disentanglement_lib's encoder and decoder, and both as players."""
    dim_z, channels = setting.hyper["dim_z"], setting.image_shape[2]
    E = net.dlib64_encoder(channels, (dim_z, dim_z))
    G = net.dlib64_decoder(dim_z, channels)
    return E, G, {name: player(setting, name, n) for name, n in (("E", E), ("G", G))}


def of_loss(loss: Callable[[Tensor], Tensor], players: dict[str, Player]) -> Game:
    """The step of one loss that all players descend."""

    def step(xs: Tensor, labels: Tensor, t: int) -> Losses:
        value = loss(xs[0])
        descend(value, *players.values())
        move(*players.values())
        return {"loss": value}

    return Game(players, step, num_batches=1)


def beta_vae(setting: Setting) -> Game:
    """beta-VAE without capacity or warm-up, as configured on sprites."""
    E, G, players = dlib(setting)
    beta = setting.hyper["beta"]

    def loss(x: Tensor) -> Tensor:
        mean, log_var = E(x)
        out = G(sample(mean, log_var))
        return negative_log_likelihood(x, out) + beta * kl_standard(mean, log_var).mean()

    return of_loss(setting.wrap(loss), players)


def total_correlation(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """disentanglement_lib's estimate of the total correlation from the minibatch."""
    squared = (z[:, None] - mean).square() * torch.exp(-log_var)
    pairs = -0.5 * (math.log(2.0 * math.pi) + log_var + squared)  # [B, B, D]
    joint = pairs.sum(2).logsumexp(1)
    return (joint - pairs.logsumexp(1).sum(1)).mean()


def beta_tcvae(setting: Setting) -> Game:
    """beta-TCVAE with disentanglement_lib's estimator."""
    E, G, players = dlib(setting)
    beta = setting.hyper["beta"]

    def loss(x: Tensor) -> Tensor:
        mean, log_var = E(x)
        z = sample(mean, log_var)
        divergence = kl_standard(mean, log_var).mean()
        divergence = divergence + (beta - 1.0) * total_correlation(z, mean, log_var)
        return negative_log_likelihood(x, G(z)) + divergence

    return of_loss(setting.wrap(loss), players)


def factorvae(setting: Setting) -> Game:
    """FactorVAE with the codes of a second minibatch permuted, at the same parameters."""
    E, G, players = dlib(setting)
    hyper = setting.hyper
    D = net.code_discriminator(hyper["dim_z"], **hyper["discriminator"])
    players["D"] = player(setting, "D", D)

    def autoencoder_loss(x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = E(x)
        z = sample(mean, log_var)
        logits = D(z)
        loss = negative_log_likelihood(x, G(z)) + kl_standard(mean, log_var).mean()
        return loss + hyper["gamma"] * (logits[:, 0] - logits[:, 1]).mean(), z

    def discriminator_loss(z: Tensor, z_bar: Tensor) -> Tensor:
        ratio, ratio_bar = (logits[:, 0] - logits[:, 1] for logits in (D(z), D(z_bar)))
        return 0.5 * (functional.softplus(-ratio) + functional.softplus(ratio_bar)).mean()

    @torch.no_grad()
    def permuted(x: Tensor) -> Tensor:
        z = sample(*E(x))
        return z.gather(0, torch.rand_like(z).argsort(0))

    wrapped = map(setting.wrap, (autoencoder_loss, discriminator_loss, permuted))
    autoencoder_loss, discriminator_loss, permuted = wrapped

    def step(xs: Tensor, labels: Tensor, t: int) -> Losses:
        with frozen(players["D"]):
            loss, z = autoencoder_loss(xs[0])
        descend(loss, players["E"], players["G"])
        d_loss = discriminator_loss(z.detach(), permuted(xs[1]))
        descend(d_loss, players["D"])
        move(*players.values())
        return {"loss": loss, "D": d_loss}

    return Game(players, step, num_batches=2)


def jointvae(setting: Setting) -> Game:
    """JointVAE: a Gaussian and a relaxed class, each held at its capacity."""
    hyper = setting.hyper
    dim_z, classes = hyper["dim_z"], hyper["num_classes"]
    E = net.jointvae_encoder(setting.image_shape, (dim_z, dim_z, classes))
    G = net.jointvae_decoder(dim_z + classes, setting.image_shape)
    players = {name: player(setting, name, n) for name, n in (("E", E), ("G", G))}
    top = min(hyper["capacity_d"], math.log(classes))
    rises = [line(0.0, end, hyper["capacity_steps"]) for end in (hyper["capacity_z"], top)]
    held = torch.zeros(2, device=setting.device)

    def loss(x: Tensor) -> Tensor:
        mean, log_var, logits = E(x)
        d = gumbel_softmax(logits, hyper["temperature"])
        out = G(torch.cat([sample(mean, log_var), d], dim=1))
        kl = torch.stack([kl_standard(mean, log_var).mean(), kl_uniform(logits).mean()])
        return negative_log_likelihood(x, out) + hyper["gamma"] * (kl - held).abs().sum()

    game = of_loss(setting.wrap(loss), players)

    def step(xs: Tensor, labels: Tensor, t: int) -> Losses:
        for i, rise in enumerate(rises):
            held[i].fill_(rise(t))
        return game.step(xs, labels, t)

    return game._replace(step=step)


def donsker_varadhan(scores: Tensor) -> Tensor:
    """The bound of scores whose first half is of joint and second half of product samples."""
    joint, product = scores.chunk(2)
    return joint.mean() - (product.logsumexp(0) - math.log(len(product)))


def pairs(z: Tensor, c: Tensor, c_bar: Tensor, both: Tensor) -> dict[str, Tensor]:
    """What each network of MMVAE sees: joint samples, then those of the product, side by side."""
    y, y_bar = both.chunk(2)
    makers = {"T_cy": (c, y, y_bar), "T_zy": (z, y, y_bar), "T_zc": (z, c, c_bar)}
    return {
        name: torch.cat([torch.cat([a, b], 1), torch.cat([a, b_bar], 1)])
        for name, (a, b, b_bar) in makers.items()
    }


def mmvae(setting: Setting) -> Game:
    """MMVAE: ascend the three bounds, then encoder and decoder descend the objective.

    One pass of the encoder over both minibatches serves both, since it moves last. Information that
    has weight 0 in the objective is only measured.
    """
    hyper, size, channels = setting.hyper, setting.batch_size, setting.image_shape[2]
    dim_z, width = hyper["dim_z"], hyper["network"]["width"]
    E = net.MMVAEEncoder(channels, dim_z, 1, width=width)
    G = net.MMVAEDecoder(channels, dim_z, 1, width=width)
    T = {
        name: net.statistics(n, **hyper["statistics"])
        for name, n in (("T_cy", 2 + 1), ("T_zy", dim_z + 1), ("T_zc", dim_z + 2))
    }
    players = {n: player(setting, n, network) for n, network in ({"E": E, "G": G} | T).items()}
    weights = {n: hyper[f"weight_{n[2:]}"] * (-1 if n == "T_cy" else 1) for n in T}
    of_c = line(hyper["kl_c_start"], 1.0, hyper["kl_c_steps"])
    kl_c_weight = torch.ones((), device=setting.device)

    def encode(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        z_mean, z_log_var, shift, log_factor = E(x, y)
        p_mean = (3.0 * y).repeat_interleave(2, dim=1)
        p_log_var = 2.0 * torch.log(0.1 + 0.9 * y).repeat_interleave(2, dim=1)
        c_mean = p_mean + torch.exp(0.5 * p_log_var) * shift
        z, c = sample(z_mean, z_log_var), sample(c_mean, p_log_var + log_factor)
        # KL(q(c | x, y) || p(c | y)) in p's own units
        kl_c = kl_standard(shift[:size], log_factor[:size]).mean()
        kl = kl_standard(z_mean[:size], z_log_var[:size]).mean() + kl_c_weight * kl_c
        return z[:size], c[:size], c[size:], kl

    def information(inputs: dict[str, Tensor]) -> Tensor:
        return sum(donsker_varadhan(T[n](both)) for n, both in inputs.items())

    def objective(x: Tensor, z: Tensor, c: Tensor, c_bar: Tensor, kl: Tensor, y: Tensor) -> Tensor:
        error = 0.5 * (x - G(z, c)).square().sum() / (size * hyper["image_std"] ** 2)
        inputs = pairs(z, c, c_bar, y)
        bounds = (weights[n] * donsker_varadhan(T[n](inputs[n])) for n in T if weights[n])
        return error + kl + sum(bounds)

    encode, information, objective = map(setting.wrap, (encode, information, objective))

    def step(xs: Tensor, labels: Tensor, t: int) -> Losses:
        kl_c_weight.fill_(of_c(t))
        y = labels.flatten(0, 1)
        z, c, c_bar, kl = encode(xs.flatten(0, 1), y)
        info = information(pairs(z.detach(), c.detach(), c_bar.detach(), y))
        measured = [players[n] for n in T]
        descend(-info, *measured)
        move(*measured)
        with frozen(*measured):
            loss = objective(xs[0], z, c, c_bar, kl, y)
        descend(loss, players["E"], players["G"])
        move(players["E"], players["G"])
        return {"loss": loss, "information": info}

    return Game(players, step, num_batches=2)
