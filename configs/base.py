"""Every hyper-parameter once, with its unit and source; the data set files only say what differs.

Any field can be set on the command line: --config.batch_size=128,
--config.infovaegan.optimizer.G.learning_rate=2e-4. Types are kept: a float field takes 4.0 or 4, an
integer field takes no 4.5. The method is the suffix: --config=configs/mnist.py:infovaegan.
"""

import difflib

from ml_collections import ConfigDict

from ivg.errors import UserError


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


METHODS = {
    "csvae": csvae,
    "gan": gan,
    "ibgan": ibgan,
    "infogan": infogan,
    "infovaegan": infovaegan,
    "infovaegan_invariant": infovaegan_invariant,
    "infovaegan_joint": infovaegan_joint,
    "mmvae": mmvae,
    "r_cvae": r_cvae,
    "wgan_gp": wgan_gp,
}
INFORMATION_GANS = ("gan", "ibgan", "infogan")  # whose networks are of CODE_FAMILIES
ATTRIBUTE_METHODS = ("csvae", "mmvae", "r_cvae")  # whose networks are of ATTRIBUTE_FAMILIES


def get_config(method: str = "infovaegan") -> ConfigDict:
    """The configuration that every data set file starts from.

    Raises:
        UserError: if there is no such method; the sentence names the nearest one.
    """
    if method not in METHODS:
        near = difflib.get_close_matches(method, METHODS, n=1, cutoff=0.4)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        raise UserError(
            f'there is no method "{method}"; {hint}The methods are: {", ".join(METHODS)}.'
        )
    config = dict(
        method=method,
        seed=0,  # everything random follows from it: parameters, latents, data order
        num_runs=1,  # runs with seeds seed, seed + 1, ...
        # So many of them are trained as one, by vmap. Together / one after the other on a CPU: 1.07
        # for perceptrons, 0.61 and 0.37 for convolutions (experiments/results/bench_runs.md).
        runs_at_once=1,
        num_steps=100_000,  # generator updates
        batch_size=64,  # global: images per minibatch over all devices
        precision="default",  # of matrix products: default, float32, tensorfloat32 or bfloat16
        steps_per_dispatch=0,  # steps in one device call; 0 = 1 on CPU, 20 on accelerators
        log_every=100,  # steps; the log holds the mean over them
        eval_every=5_000,  # steps between sample grids and clustering scores; 0 = only at the end
        checkpoint_every=1_000,  # steps
        keep_checkpoints=3,
        eval_images=10_000,  # at most so many test images are scored
        attributes=("",),  # attribute columns to load, of data that have them: Male,Eyeglasses
        attribute_scores=dict(  # of the methods that learn from attributes
            estimates=5,  # of each mutual information, by networks trained afresh (MINE)
            mine_width=128,  # their hidden layers, for a CPU; 512 and 7 in the thesis
            mine_depth=3,
            mine_learning_rate=1e-3,  # 1e-4 for the thesis' networks
            mine_batch_size=512,
            mine_steps=2_000,  # at most; training stops where the validation bound does
            quick_steps=300,  # the same every eval_every steps, one estimate each; 0 = never
            classifier_steps=2_000,  # of the network that judges swapped attributes
            max_images=40_000,  # of each split
            leak="all",  # how well the codes predict known factors; or "none"
        ),
        disentanglement=dict(  # scores where the data's true factors are known
            metrics="fast",  # or "all", "none", or names: factor_vae,mig
            seeds=1,  # of the metrics' own random draws; their spread is reported
            train_votes=10_000,  # FactorVAE and beta-VAE, disentanglement_lib's protocol
            eval_votes=5_000,
            quick_votes=800,  # of the score that is logged every eval_every steps; 0 = not logged
        ),
        data=dict(
            name="digits",
            dir="",  # tfds directory, folder or zip; "" = ~/tensorflow_datasets
            image_size=0,  # pixels; 0 = native
            crop="default",  # or pixels of a centre square, "square", "none", "infovaegan", "mmvae"
            channels=0,  # 1 or 3; 0 = the data set's own
            labels="",  # CSV or CelebA attribute file of your own images; "" = found by name
            bad_images="error",  # or "skip"
            test_fraction=0.1,  # of your own images
            in_memory="auto",  # whole set as uint8 on the device: "auto" by size, "yes" or "no"
            memory_limit_gb=4.0,  # where "auto" draws the line
            num_images=40_000,  # training images of rendered faces; a quarter as many test images
            priors="",  # of faces: glasses:0.33,gaze:0.4:0.6,hair_style:2
            correlations="",  # of faces: glasses:hair_colour:0.8
            coloring="ibgan",  # of color_sprites: "ibgan" (8 levels) or "dlib" (U(0.5, 1))
        ),
    )
    config[method] = METHODS[method]()
    return ConfigDict(config)


def set_known(section: ConfigDict, **values) -> None:
    """Sets those fields that the section has: methods differ in their hyper-parameters."""
    for name, value in values.items():
        if name in section:
            section[name] = value


def set_faces(config: ConfigDict, method: str, *, dim_r: int, beta: float, ngf: int, ndf: int):
    """CelebA's and the chairs' networks and schedules: IB-GAN's second family, InfoVAEGAN's.

    IB-GAN's released code: z of 64, orthogonal weights, a trunk shared by D and the reconstructor,
    instance noise from 0.5 to 0.01 over the whole run, real labels from U(0.7, 1.2).
    """
    own = config[method]
    if method in ATTRIBUTE_METHODS:
        set_thesis(config, method, attribute="Eyeglasses")
        return
    if method not in INFORMATION_GANS:
        own.network = dict(name="infovaegan64", width=1.0)
        set_known(own, dim_z=100, dim_c=10)
        return
    own.network = dict(name="ibgan64", ngf=ngf, ndf=ndf, trunk="shared", init="orthogonal")
    for player in own.optimizer:
        own.optimizer[player] = rmsprop(2e-6 if player == "D" else 5e-5)
    own.update(noise_start=0.5, noise_end=0.01, noise_steps=config.num_steps)
    set_known(own, dim_z=64, dim_r=dim_r, beta=beta, real_label_low=0.7, real_label_high=1.2)
    if method == "infogan":
        own.update(dim_z=0, dim_c=dim_r, num_classes=0, code_prior="normal")


def set_thesis(config: ConfigDict, method: str, *, attribute: str) -> None:
    """MMVAE's thesis: its networks at 64x64, batch, crop and attribute."""
    config[method].network = dict(name="mmvae64", width=1.0)
    config.batch_size = 128  # not in the thesis
    config.attributes = (attribute,)
    if config.data.name == "celeb_a":
        config.data.crop = "mmvae"
