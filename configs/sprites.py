"""Sprites (re-rendered dSprites), 64x64: no download.

737,280 images, drawn inside the training step. Paper: Jeon et al., "IB-GAN", AAAI 2021, Table 1:
FactorVAE score of GAN 0.40, InfoGAN 0.61, IB-GAN 0.80 (mean of 10 seeds, 150,000 steps, beta
0.141). Default method `ibgan`; baselines are one suffix away: `:gan`, `:infogan`, `:wgan_gp`,
`:infovaegan`. All GANs of that table have its networks, optimisers and instance noise.
`:infogan_cr` is Lin et al., ICML 2020, FactorVAE score 0.88, as its code runs it:
--config.infogan_cr.cr_start belongs below --config.num_steps when that is lowered. A GPU is wanted;
two CPU cores take about six steps a second.
"""

from ivg.configs import autoencoders, base, methods


def get_config(method: str = "ibgan"):
    """The configuration; `method` is the suffix after the colon."""
    config = base.get_config(method)
    config.data.name = "sprites"
    config.data.image_size = 64
    config.num_steps = 150_000
    config.eval_every = 10_000
    own = config[method]
    if method == "infogan_cr":
        config.num_steps = 322_560  # 28 epochs; the networks and optimisers are its own
    elif method in base.INFORMATION_GANS:
        ibgan = methods.ibgan()
        own.network = ibgan["network"]
        for player in own.optimizer:
            own.optimizer[player] = ibgan["optimizer"][player]
        for name in ("noise_start", "noise_end", "noise_steps"):
            own[name] = ibgan[name]
    elif method in base.AUTOENCODERS:
        autoencoders.set_data(config, method, "sprites")
    elif method not in base.ATTRIBUTE_METHODS:
        # InfoVAEGAN's own; ALI's are for photographs, and nothing is published of it on sprites.
        own.network = dict(name="infogancr64" if method == "ali" else "infovaegan64", width=1.0)
        # ALI's z is its representation: as many codes as the others have.
        base.set_known(own, dim_z=10 if method == "ali" else 100, dim_c=10)
    if method == "infogan":  # IB-GAN's comparison: ten normal codes, nothing else
        own.dim_z, own.dim_c, own.num_classes, own.code_prior = 0, 10, 0, "normal"
    if method == "gan":  # 150,000 steps of the game, then as many to fit the regression of z
        own.game_steps, config.num_steps = 150_000, 300_000
    return config
