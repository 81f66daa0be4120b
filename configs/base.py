"""What all methods share, with units and sources.

Their own hyper-parameters are in methods.py and autoencoders.py; the data set files only say what
differs.

Any field can be set on the command line: --config.batch_size=128,
--config.infovaegan.optimizer.G.learning_rate=2e-4. Types are kept: a float field takes 4.0 or 4, an
integer field takes no 4.5. The method is the suffix: --config=configs/mnist.py:infovaegan.
"""

import difflib

from ml_collections import ConfigDict

from ivg.configs import autoencoders, methods
from ivg.errors import UserError

OTHERS = {
    "ali": methods.ali,
    "csvae": methods.csvae,
    "gan": methods.gan,
    "ibgan": methods.ibgan,
    "infogan": methods.infogan,
    "infogan_cr": methods.infogan_cr,
    "infovaegan": methods.infovaegan,
    "infovaegan_invariant": methods.infovaegan_invariant,
    "infovaegan_joint": methods.infovaegan_joint,
    "mmvae": methods.mmvae,
    "r_cvae": methods.r_cvae,
    "wgan_gp": methods.wgan_gp,
}
METHODS = dict(sorted((OTHERS | autoencoders.METHODS).items()))
AUTOENCODERS = tuple(autoencoders.METHODS)
# Those whose networks are of CODE_FAMILIES.
INFORMATION_GANS = ("gan", "ibgan", "infogan", "infogan_cr")
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
        # What several devices share: "batch", its images; or "runs": each trains seeds of its own,
        # runs_at_once of them as one.
        parallel="batch",
        num_steps=100_000,  # generator updates
        batch_size=64,  # global: images per minibatch over all devices
        # "default", "float32" or "tf32": of the products of float32 matrices (tf32 on Nvidia GPUs);
        # "bf16": networks compute in bfloat16, all that is kept and compared stays float32.
        precision="default",
        steps_per_dispatch=0,  # steps in one device call; 0 = 1 on CPU, 20 on accelerators
        log_every=100,  # steps; the log holds the mean over them
        eval_every=5_000,  # steps between sample grids and clustering scores; 0 = only at the end
        checkpoint_every=1_000,  # steps
        keep_checkpoints=3,
        # Where a loss or a parameter is not finite: "stop", or "rollback": to the last checkpoint
        # and on from there with another random key, the images of each batch being the same.
        on_nan="stop",
        max_rollbacks=3,  # in the whole run; after that it stops
        tracker="",  # "wandb" or "mlflow" is told what TensorBoard is; "" = neither
        profile_steps=0,  # steps to trace once they are warm, into WORKDIR/profile; 0 = none
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
        frechet=dict(  # distance of generated images from the training images, KID and more
            num_images=0,  # generated; 50_000 for numbers like the papers', 0 = not scored
            reference_images=50_000,  # at most so many training images
            weights="",  # Inception's: .npz or .safetensors; "" = a classifier's features, no FID
            classifier_steps=1_000,  # of that classifier, trained on the data's labels or factors
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
    if method in AUTOENCODERS:
        autoencoders.set_data(config, method, "faces")
        return
    if method not in INFORMATION_GANS:
        own.network = dict(name="infovaegan64", width=1.0)
        set_known(own, dim_z=256 if method == "ali" else 100, dim_c=10)  # ALI's on CelebA
        return
    if method == "infogan_cr":
        _set_faces_cr(config)
        return
    own.network = dict(name="ibgan64", ngf=ngf, ndf=ndf, trunk="shared", init="orthogonal")
    for player in own.optimizer:
        own.optimizer[player] = methods.rmsprop(2e-6 if player == "D" else 5e-5)
    own.update(noise_start=0.5, noise_end=0.01, noise_steps=config.num_steps)
    set_known(own, dim_z=64, dim_r=dim_r, beta=beta, real_label_low=0.7, real_label_high=1.2)
    if method == "infogan":
        own.update(dim_z=0, dim_c=dim_r, num_classes=0, code_prior="normal")


def _set_faces_cr(config: ConfigDict) -> None:
    """InfoGAN-CR's released settings for CelebA, but for its networks, which are for 32x32."""
    config.batch_size = 128
    own = config.infogan_cr
    own.update(dim_z=100, info_weight=2.0, cr_weight=1.0)
    own.cr_start = config.num_steps * 8 // 9  # 80,000 of 90,000
    for player in own.optimizer:
        own.optimizer[player].learning_rate = 2e-3 if player == "G" else 2e-4


def set_thesis(config: ConfigDict, method: str, *, attribute: str) -> None:
    """MMVAE's thesis: its networks at 64x64, batch, crop and attribute."""
    config[method].network = dict(name="mmvae64", width=1.0)
    config.batch_size = 128  # not in the thesis
    config.attributes = (attribute,)
    if config.data.name == "celeb_a":
        config.data.crop = "mmvae"
