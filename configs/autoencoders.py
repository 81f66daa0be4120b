"""The variational autoencoders' hyper-parameters, and what each data set changes of them.

What disentanglement_lib has is its settings (Locatello et al., ICML 2019): the same encoder and
decoder, ten latents, Bernoulli likelihood, batches of 64, 300,000 steps of Adam. JointVAE's are
its paper's, the mixture autoencoder's those of its released code.
"""

from ml_collections import ConfigDict

from ivg.configs.methods import adam


def players(learning_rate: float) -> dict:
    """Encoder E and decoder G with one learning rate: one optimiser over both in the sources."""
    return {player: adam(learning_rate, 0.9, 0.999) for player in "EG"}


def vae() -> dict:
    """The VAE (Kingma & Welling, 2014) with the extras of beta-VAE and its capacity variant."""
    return dict(
        # A family of ivg.networks.AUTOENCODER_FAMILIES and its options.
        network=dict(name="mlp", width=256),
        dim_z=10,
        likelihood="bernoulli",  # of pixels in [0, 1]; or "gaussian", unit variance on [-1, 1]
        beta=1.0,  # weight of the divergence; 1 = VAE
        beta_steps=0,  # over which beta rises from 0 (Bowman et al., 2016)
        capacity=0.0,  # nats where the divergence is held (Burgess et al., 2018), linear from 0 ...
        capacity_steps=0,  # ... over so many steps
        optimizer=players(1e-4),
    )


def beta_vae() -> dict:
    """beta-VAE (Higgins et al., 2017): the VAE with another beta."""
    return vae() | dict(beta=4.0)  # Higgins et al. on dSprites; the study: 1, 2, 4, 6, 8, 16


def factorvae() -> dict:
    """FactorVAE (Kim & Mnih, 2018)."""
    return dict(
        network=dict(name="mlp", width=256),
        dim_z=10,
        likelihood="bernoulli",
        gamma=10.0,  # weight of the total correlation; the study: 10, 20, 30, 40, 50, 100
        permuted="second",  # the minibatch whose codes are permuted (paper), or the "same" (study)
        discriminator=dict(width=1000, depth=6),
        optimizer=players(1e-4) | dict(D=adam(1e-4, 0.5, 0.9)),
    )


def beta_tcvae() -> dict:
    """beta-TCVAE (Chen et al., 2018)."""
    return dict(
        network=dict(name="mlp", width=256),
        dim_z=10,
        likelihood="bernoulli",
        beta=6.0,  # weight of the total correlation; the study: 1, 2, 4, 6, 8, 10
        # "minibatch_weighted": the paper's decomposition; "disentanglement_lib": the divergence in
        # closed form plus (beta - 1) times the total correlation.
        estimator="disentanglement_lib",
        optimizer=players(1e-4),
    )


def dip_vae() -> dict:
    """DIP-VAE (Kumar et al., 2018)."""
    return dict(
        network=dict(name="mlp", width=256),
        dim_z=10,
        likelihood="bernoulli",
        variant="i",  # of the means' covariance, or "ii", of the codes'
        weight_off_diagonal=10.0,  # the study: 1, 2, 5, 10, 20, 50
        weight_diagonal=100.0,  # the study: 10 times the other for "i", as much for "ii"
        optimizer=players(1e-4),
    )


def _divided(optimizers: dict, *, pixels: int) -> dict:
    """Adam as on a loss divided by the number of pixels, which only its eps feels."""
    return {player: own | dict(eps=1e-8 * pixels) for player, own in optimizers.items()}


def jointvae() -> dict:
    """JointVAE (Dupont, 2018) with its MNIST settings, for images of 32x32."""
    return dict(
        network=dict(name="mlp", width=256),
        dim_z=10,  # continuous
        num_classes=10,
        likelihood="bernoulli",
        gamma=30.0,  # weight of both divergences' distance to their capacities
        capacity_z=5.0,  # nats, linear from 0
        capacity_d=5.0,  # nats; never more than ln(num_classes)
        capacity_steps=25_000,
        temperature=0.67,  # Gumbel-softmax
        optimizer=_divided(players(5e-4), pixels=32 * 32),
    )


def mixture_vae() -> dict:
    """The deep mixture generative autoencoder (Ye & Bors, TNNLS 2021), as released for MNIST."""
    return dict(
        # A family of ivg.networks.MIXTURE_FAMILIES and its options.
        network=dict(name="mlp", width=500),
        num_components=4,  # also the number of clusters
        dim_z=50,  # of each component
        likelihood="bernoulli",
        kl_weight=1.0,  # of the components' mean divergence; 0.1 on CelebA
        kl_weight_w=1.0,  # of the Dirichlet divergence over num_components: 0.25 for 4, 0.17 for 6
        dhsic_weight=1.0,  # of the components' dependence
        dropout="bernoulli",  # of components; or "gaussian", "none"
        dropout_weight=10.0,  # of its own term
        temperature=0.1,  # of the relaxed Bernoulli
        optimizer={player: adam(1e-3, 0.9, 0.999) for player in ("E", "G", "P")},
    )


METHODS = {
    "beta_tcvae": beta_tcvae,
    "beta_vae": beta_vae,
    "dip_vae": dip_vae,
    "factorvae": factorvae,
    "jointvae": jointvae,
    "mixture_vae": mixture_vae,
    "vae": vae,
}


def set_data(config: ConfigDict, method: str, data: str) -> None:
    """Networks, sizes and schedule of an autoencoder on a data set.

    Args:
        config: of `base.get_config`; is changed.
        method: a key of `METHODS`.
        data: "sprites" (64x64, grey or colour), "faces" (64x64, any photographs), "mnist" (28x28)
            or "digits" (8x8).
    """
    own = config[method]
    if method != "mixture_vae":
        own.network = dict(_NETWORKS[data])
    if data in ("sprites", "faces"):
        config.num_steps = 300_000
        config.eval_every = 10_000
    if method == "factorvae" and data == "sprites":
        own.permuted = "same"  # as in the study
    if data in ("mnist", "digits") and method not in ("jointvae", "mixture_vae"):
        for player in "EG":
            own.optimizer[player].learning_rate = 5e-4
    if method == "jointvae":
        _set_jointvae(config, data)
    if method == "mixture_vae":
        _set_mixture(config, data)


_NETWORKS = {
    "sprites": dict(name="dlib64"),
    "faces": dict(name="dlib64"),
    "mnist": dict(name="mlp", width=512),
    "digits": dict(name="mlp", width=256),
}


def _set_jointvae(config: ConfigDict, data: str) -> None:
    """JointVAE's networks and the table of its released code, by data set.

    MNIST is made 32x32 and takes 100 epochs. The digits, not in the paper, have perceptrons and the
    schedule of MNIST in proportion to their steps.
    """
    own = config.jointvae
    if data == "digits":
        own.capacity_steps = 1_600
        return
    own.network = dict(name="jointvae", width=1.0)
    if data == "mnist":
        config.data.image_size = 32
        config.num_steps = 94_000
        config.eval_every = 5_000
        return
    own.optimizer = _divided(players(5e-4), pixels=64 * 64)
    if data == "sprites":
        own.update(dim_z=6, num_classes=3, gamma=150.0, capacity_z=40.0, capacity_d=1.1)
        own.capacity_steps = 300_000
    elif data == "faces":
        # Its gamma of 100 balances a third of log p(x | z, d); see ivg.methods.jointvae.
        own.update(dim_z=32, num_classes=10, gamma=300.0, capacity_z=50.0, capacity_d=10.0)
        own.capacity_steps = 100_000
        if config.data.name == "chairs":  # grey; three classes of two there, one of eight here
            own.update(num_classes=8, capacity_z=30.0, capacity_d=5.0)
            own.optimizer = _divided(players(1e-4), pixels=64 * 64)


def _set_mixture(config: ConfigDict, data: str) -> None:
    """The mixture autoencoder's released settings for MNIST and CelebA; the others are ours.

    Ten components where there are ten classes: the released four or six cannot be matched to them.
    """
    own = config.mixture_vae
    if data in ("mnist", "digits"):
        own.num_components = 10
    if data == "mnist":
        config.batch_size = 128
        config.num_steps = 46_900  # 100 epochs
        config.eval_every = 5_000
        return
    if data == "digits":
        own.network.width = 256
        own.dim_z = 8
        return
    own.network = dict(name="mixture64", width=1.0)
    for player in own.optimizer:
        own.optimizer[player].learning_rate = 1e-4
    if data == "faces":
        own.update(num_components=6, dim_z=256, likelihood="gaussian", kl_weight=0.1)
    else:  # nothing is published of it on sprites
        own.network.width = 0.125
        own.dim_z = 10
