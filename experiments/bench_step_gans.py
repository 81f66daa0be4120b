"""The training steps of IB-GAN and InfoVAEGAN in plain PyTorch, as `ivg.methods` has them."""

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
    optimizer,
    player,
    sample,
)


def ibgan(setting: Setting) -> Game:
    """IB-GAN: e, G and q descend eq. 11, D its cross-entropy, at the same parameters."""
    hyper, channels = setting.hyper, setting.image_shape[2]
    ngf, ndf = (hyper["network"][name] for name in ("ngf", "ndf"))
    shared = hyper["network"]["trunk"] == "shared"
    E = net.ibgan_representation(hyper["dim_z"], hyper["dim_r"], shared=shared)
    G = net.ibgan_generator(hyper["dim_r"], channels, ngf=ngf)
    Q = net.ibgan_reconstructor(channels, hyper["dim_z"], ndf=ndf, shared=shared)
    D = net.IBGANDiscriminator(channels, ndf=ndf, shared=shared)
    noise = line(hyper["noise_start"], hyper["noise_end"], hyper["noise_steps"])
    low, high = hyper["real_label_low"], hyper["real_label_high"]
    players = {
        name: player(setting, name, network)
        for name, network in (("E", E), ("G", G), ("Q", Q), ("D", D))
    }
    sigma = torch.zeros((), device=setting.device)  # a tensor: a number would be compiled in

    def noisy(x: Tensor) -> Tensor:
        return torch.addcmul(x, torch.randn_like(x), sigma).clamp_(-1.0, 1.0)

    def generator_loss(z: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = E(z)
        seen = noisy(G(sample(mean, log_var)))
        logits, features = D(seen)
        (z_hat,) = Q(features)
        reconstruction = 0.5 * (z - z_hat).square().sum(1)
        rate = kl_standard(mean, log_var)
        fooling = functional.softplus(-logits)
        return (fooling + reconstruction + hyper["beta"] * rate).mean(), seen

    def discriminator_loss(x: Tensor, seen: Tensor) -> Tensor:
        fake, real = D(seen)[0], D(noisy(x))[0]
        label = torch.empty_like(real).uniform_(low, high)
        real_loss = label * functional.softplus(-real) + (1.0 - label) * functional.softplus(real)
        return (functional.softplus(fake) + real_loss).mean()

    generator_loss, discriminator_loss = map(setting.wrap, (generator_loss, discriminator_loss))

    def step(xs: Tensor, labels: Tensor, t: int) -> Losses:
        sigma.fill_(noise(t))
        z = torch.randn(setting.batch_size, hyper["dim_z"], device=setting.device)
        with frozen(players["D"]):
            g_loss, seen = generator_loss(z)
        descend(g_loss, players["E"], players["G"], players["Q"])
        d_loss = discriminator_loss(xs[0], seen.detach())
        descend(d_loss, players["D"])
        move(*players.values())
        return {"G": g_loss, "D": d_loss}

    return Game(players, step, num_batches=1)


def gradient_penalty(critic: nn.Module, x: Tensor) -> Tensor:
    """WGAN-GP's penalty at images that carry gradient, a scalar; differentiable again."""
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1.0).square().mean()


def infovaegan_networks(setting: Setting) -> dict[str, nn.Module]:
    """InfoGAN's MNIST networks for InfoVAEGAN's four players."""
    hyper, shape, width = setting.hyper, setting.image_shape, setting.hyper["network"]["width"]
    dim_z, classes, dim_c = (hyper[n] for n in ("dim_z", "num_classes", "dim_c"))
    return {
        "G": net.infogan28_generator(dim_z + classes + dim_c, shape, width=width),
        "D": net.infogan28_critic(shape, width=width),
        "q_u": net.infogan28_encoder(shape, (classes, dim_c, dim_c), width=width),
        "q_z": net.infogan28_encoder(shape, (dim_z, dim_z), width=width),
    }


def infovaegan_prior(setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
    """A minibatch of d (one-hot), c and z."""
    hyper, size, where = setting.hyper, setting.batch_size, setting.device
    d = torch.randint(hyper["num_classes"], (size,), device=where)
    c = torch.empty(size, hyper["dim_c"], device=where).uniform_(-1.0, 1.0)
    z = torch.randn(size, hyper["dim_z"], device=where)
    return functional.one_hot(d, hyper["num_classes"]).float(), c, z


def infovaegan(setting: Setting) -> Game:
    """InfoVAEGAN, interleaved: critic steps (eq. 4), G and q_u (eq. 11), q_u and q_z (eq. 6).

    The critic's loss is never compiled: PyTorch's compiler does not differentiate twice.
    """
    hyper, networks = setting.hyper, infovaegan_networks(setting)
    G, D, q_u, q_z = networks.values()
    players = {name: player(setting, name, network) for name, network in networks.items()}
    of_elbo = Player(q_u, optimizer(setting, "elbo", q_u))  # q_u's second optimiser

    def draw(d: Tensor, c: Tensor, z: Tensor) -> Tensor:
        return G(torch.cat([z, d, c], dim=1)).float()

    def critic_loss(x: Tensor, x_g: Tensor) -> Tensor:
        u = torch.rand(len(x), 1, 1, 1, device=setting.device)
        penalty = gradient_penalty(D, torch.lerp(x_g.detach().requires_grad_(), x, u))
        return (D(x_g) - D(x)).mean() + hyper["gp_weight"] * penalty

    def generator_loss(d: Tensor, c: Tensor, z: Tensor) -> Tensor:
        x_g = draw(d, c, z)
        logits, c_mean, _ = q_u(x_g)
        info_d = (d * logits.log_softmax(1)).sum(1)
        info_c = -0.5 * (c - c_mean).square().sum(1)
        info = info_d + hyper["info_c_weight"] * info_c
        return (-D(x_g) - hyper["info_weight"] * info).mean()

    def inference_loss(x_g: Tensor) -> Tensor:
        (logits, c_mean, c_raw), (z_mean, z_raw) = q_u(x_g), q_z(x_g)
        c_log_var, z_log_var = (2.0 * functional.softplus(r).log() for r in (c_raw, z_raw))
        d = gumbel_softmax(logits, hyper["temperature"])
        x_hat = draw(d, sample(c_mean, c_log_var), sample(z_mean, z_log_var))
        elbo = -0.5 * (x_g - x_hat).square().flatten(1).sum(1)
        elbo = elbo - hyper["kl_weight_z"] * kl_standard(z_mean, z_log_var)
        elbo = elbo - hyper["kl_weight_c"] * kl_standard(c_mean, c_log_var)
        return -(elbo - hyper["kl_weight_d"] * kl_uniform(logits)).mean()

    generator_loss, inference_loss = map(setting.wrap, (generator_loss, inference_loss))

    def step(xs: Tensor, labels: Tensor, t: int) -> Losses:
        for x in xs:
            with torch.no_grad():
                x_g = draw(*infovaegan_prior(setting))
            d_loss = critic_loss(x, x_g)
            descend(d_loss, players["D"])
            move(players["D"])
        with frozen(players["D"]):
            g_loss = generator_loss(*infovaegan_prior(setting))
        descend(g_loss, players["G"], players["q_u"])
        move(players["G"], players["q_u"])
        with torch.no_grad():
            x_g = draw(*infovaegan_prior(setting))
        with frozen(players["G"]):
            elbo_loss = inference_loss(x_g)
        descend(elbo_loss, of_elbo, players["q_z"])
        move(of_elbo, players["q_z"])
        return {"D": d_loss, "G": g_loss, "elbo": elbo_loss}

    return Game(players, step, num_batches=hyper["num_critic"], others=(of_elbo.optimizer,))
