"""Every method's own hyper-parameters, each once, with its unit and source.

A section is what `config.<method>.` holds; `configs/base.py` puts it beside what all methods share,
and the data set files change what a data set needs. The autoencoders' are in autoencoders.py.
"""


def adam(learning_rate: float, b1: float, b2: float) -> dict:
    """An Adam optimiser; eps 1e-8 outside the root."""
    return dict(name="adam", learning_rate=learning_rate, b1=b1, b2=b2)


def autoencoder() -> dict:
    """Encoder and decoder of MMVAE's thesis; the learning rate falls after 1, 2, 4, ... epochs."""
    own = adam(1e-3, 0.9, 0.999) | dict(milestone_factor=0.75)
    return dict(E=dict(own), G=dict(own))


def rmsprop(learning_rate: float) -> dict:
    """IB-GAN's optimiser: PyTorch's RMSProp with momentum; eps outside the root."""
    return dict(name="rmsprop", learning_rate=learning_rate, decay=0.99, eps=1e-8, momentum=0.9)


def ibgan() -> dict:
    """The AAAI 2021 paper, as its released code runs it on dSprites."""
    return dict(
        # A family of ivg.networks.CODE_FAMILIES and its options.
        network=dict(name="ibgan64", ngf=16, ndf=16, trunk="separate", init="normal"),
        dim_z=16,
        dim_r=10,
        beta=0.141,  # weight of KL(e(r|z) || m(r)); explored in [0, 1], best 0.071 to 0.212 (paper)
        noise_start=1.0,  # instance noise's standard deviation, linear ...
        noise_end=0.0,
        noise_steps=100_000,  # ... over so many steps
        real_label_low=1.0,  # real labels are uniform in between
        real_label_high=1.0,
        optimizer=dict(E=rmsprop(5e-5), G=rmsprop(5e-5), Q=rmsprop(5e-5), D=rmsprop(1e-6)),
    )


def infogan() -> dict:
    """InfoGAN with the codes of its MNIST experiment; the sprites' are set in their file."""
    return dict(
        network=dict(name="mlp", width=256),
        dim_z=62,  # released code
        dim_c=2,
        num_classes=10,
        code_prior="uniform",
        info_weight=1.0,  # lambda of eq. 6
        info_c_weight=1.0,  # of c within the bound (released code; the paper says smaller)
        noise_start=0.0,
        noise_end=0.0,
        noise_steps=0,
        optimizer=dict(
            G=adam(1e-3, 0.5, 0.999), Q=adam(2e-4, 0.5, 0.999), D=adam(2e-4, 0.5, 0.999)
        ),
    )


def infogan_cr() -> dict:
    """InfoGAN-CR (Lin et al., 2020), as its released code runs it on dSprites."""
    others = {player: adam(2e-3, 0.5, 0.999) for player in ("Q", "D", "H")}
    return dict(
        # A family of ivg.networks.CODE_FAMILIES and its options.
        network=dict(name="infogancr64", width=1.0),
        dim_z=5,  # noise
        dim_c=5,
        info_weight=0.05,  # of the bound on I(c; x)
        cr_weight=2.0,  # of the contrastive regulariser ...
        cr_start=288_000,  # ... from this step on, of 322,560
        gap=0.0,  # least distance of the codes that a pair does not share; 1.9 on 3D teapots ...
        gap_steps=0,  # ... for so many steps from cr_start on; 35,000 there
        generator_steps=2,  # updates of G in a step
        optimizer=dict(G=adam(1e-3, 0.5, 0.999)) | others,
    )


def gan() -> dict:
    """The plain GAN; DCGAN's optimiser where a data set file does not say otherwise."""
    return dict(
        network=dict(name="mlp", width=256),
        dim_z=16,
        game_steps=0,  # afterwards z is regressed from generated images; 0 = never
        noise_start=0.0,
        noise_end=0.0,
        noise_steps=0,
        optimizer=dict(
            G=adam(2e-4, 0.5, 0.999), D=adam(2e-4, 0.5, 0.999), Q=adam(2e-4, 0.5, 0.999)
        ),
    )


def ali() -> dict:
    """ALI (Dumoulin et al., 2017): the released code's optimiser, and its z of 32x32 images."""
    return dict(
        network=dict(name="infogan28", width=1.0),  # a family of ivg.networks.FAMILIES
        dim_z=64,  # 256 on CelebA
        optimizer={player: adam(1e-4, 0.5, 0.999) for player in ("E", "G", "D")},
    )


def wgan_gp() -> dict:
    """WGAN-GP with its paper's optimiser and weights."""
    return dict(
        network=dict(name="infogan28", width=1.0),  # a family of ivg.networks.FAMILIES
        dim_z=128,
        num_critic=5,
        gp_weight=10.0,
        optimizer=dict(G=adam(1e-4, 0.5, 0.9), D=adam(1e-4, 0.5, 0.9)),
    )


def infovaegan() -> dict:
    """The ICIP 2021 paper; what it leaves open follows WGAN-GP, InfoGAN and the authors' code."""
    return dict(
        # A family of ivg.networks and its options; the paper gives no MNIST networks.
        network=dict(name="infogan28", width=1.0),
        dim_z=62,  # InfoGAN's noise size; 100 at 64x64 (authors' code)
        dim_c=2,  # 2 on MNIST, 10 on CelebA (paper)
        num_classes=10,  # paper
        num_critic=5,  # critic updates per generator update (WGAN-GP)
        gp_weight=10.0,  # lambda (WGAN-GP)
        info_weight=1.0,  # of eq. 11's bound; 0 = the paper's ablation InfoVAEGAN-MI
        info_c_weight=1.0,  # of c within the bound, d having 1 (authors' code)
        info_warmup=0,  # steps over which info_weight rises from 0; not in the paper
        z_scale=1.0,  # factor on z at G's input; not in the paper
        style_warmup=0,  # steps over which z and c rise to full scale in G; not in the paper
        temperature=0.1,  # Gumbel-softmax, constant (authors' code)
        kl_weight_z=1.0,  # eq. 6
        kl_weight_c=1.0,  # eq. 6; to N(0, I) although c is drawn from U(-1, 1)
        kl_weight_d=0.001,  # the only value in the authors' code
        schedule="interleaved",  # or "staged": generation first, then inference
        generation_steps=0,  # steps of the first stage when staged
        optimizer=dict(
            G=adam(1e-4, 0.5, 0.9),  # WGAN-GP
            D=adam(1e-4, 0.5, 0.9),  # WGAN-GP
            q_u=adam(2e-4, 0.5, 0.9),  # eq. 11
            elbo=adam(2e-4, 0.5, 0.999),  # q_u again, eq. 6
            q_z=adam(2e-4, 0.5, 0.999),  # eq. 6
        ),
    )


def infovaegan_invariant() -> dict:
    """Our extension: q(d | x) is learnt first, by agreement on affine copies of real images."""
    config = infovaegan() | dict(
        num_heads=5,  # class heads to choose from, without labels (IIC)
        agreement_balance=2.0,  # weight of the entropy of the mean prediction
        agreement_batches=4,  # real minibatches that one agreement is computed over
        agreement_steps=1_000,  # of q(d | x) alone, before the game begins
        rotation=20.0,  # degrees, uniform in +-
        scale=0.2,  # per axis, factor within 1 / 1.2 and 1.2
        shear=0.3,  # pixels per pixel
        translation=1.0,  # pixels; with 3 classes merge on MNIST
    )
    config["optimizer"]["q_d"] = adam(1e-3, 0.9, 0.999)
    return config


def infovaegan_joint() -> dict:
    """The authors' released code: joint discriminator on (x, [d, c]), binary cross-entropy."""
    return dict(
        network=dict(name="infogan28", width=1.0),
        dim_z=100,  # 100 on every data set
        dim_c=10,  # 10 on every data set
        num_classes=10,
        info_weight=1.0,
        temperature=0.1,
        kl_weight_z=1.0,  # z is inferred here; the released code reuses the prior's draw
        kl_weight_c=1.0,
        kl_weight_d=0.001,
        optimizer=dict(
            G=adam(1e-3, 0.5, 0.999),
            D=adam(2e-4, 0.5, 0.999),
            q_u=adam(1e-3, 0.5, 0.999),  # the code's Q step
            elbo=adam(1e-3, 0.5, 0.999),  # the code's VAE step
            q_z=adam(1e-3, 0.5, 0.999),
        ),
    )


def r_cvae() -> dict:
    """The conditional VAE that MMVAE's thesis (Kim, 2019) compares itself with."""
    return dict(
        # A family of ivg.networks.ATTRIBUTE_FAMILIES and its options.
        network=dict(name="mlp", width=256),
        dim_z=512,  # thesis; c has 2 for each attribute
        image_std=2.0,  # of p(x|z, c), on pixels in [-1, 1]: 2 is unit variance on [0, 1]
        kl_c_start=1.0,  # weight of KL(q(c|x, y) || p(c|y)), linear from here to 1 ...
        kl_c_steps=0,  # ... over so many steps; not in the thesis
        # Steps in an epoch of the learning rate; 0 = training images / batch_size, for MMVAE too,
        # whose steps take a second minibatch besides.
        epoch_steps=0,
        optimizer=autoencoder(),
    )


def csvae() -> dict:
    """CSVAE (Klys et al., 2018) as MMVAE's thesis has it."""
    return r_cvae() | dict(
        weight_entropy=1.0,  # of the predictor's negative entropy; not in the thesis
        statistics=dict(width=512, depth=7),  # the predictor's hidden layers, as MMVAE's networks
        optimizer=autoencoder() | dict(q_y=adam(1e-5, 0.9, 0.999)),
    )


def mmvae() -> dict:
    """MMVAE's thesis (Kim, 2019)."""
    information = {name: adam(1e-5, 0.9, 0.999) for name in ("T_cy", "T_zy", "T_zc")}
    return r_cvae() | dict(
        weight_cy=0.0,  # alpha: I(c; y) is raised
        weight_zy=1.0,  # beta: I(z; y) is lowered
        weight_zc=1.0,  # gamma: I(z; c) is lowered
        product="second",  # minibatch of the product samples; or the same, "shuffled"
        gradient="plain",  # of the networks' bounds, or "ema" (MINE's correction)
        statistics=dict(width=512, depth=7),  # the three networks' hidden layers
        optimizer=autoencoder() | information,
    )
