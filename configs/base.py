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


METHODS = {
    "infovaegan": infovaegan,
    "infovaegan_invariant": infovaegan_invariant,
    "infovaegan_joint": infovaegan_joint,
}


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
        num_runs=1,  # runs with seeds seed, seed + 1, ..., one after the other
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
        ),
    )
    config[method] = METHODS[method]()
    return ConfigDict(config)
