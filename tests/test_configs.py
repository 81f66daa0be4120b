"""Every data set's config with every method; nothing is loaded, initialised or compiled."""

import copy
import importlib
import inspect
import pathlib

import jax
import pytest

from ivg import build, data
from ivg.configs import base
from ivg.errors import UserError
from ivg.players import Player
from ivg.rundir import flatten

FOLDER = pathlib.Path(base.__file__).parent
SHARED = ("__init__", "autoencoders", "base", "methods")
DATA = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SHARED)
SHAPES = {
    "celeba": (64, 64, 3),
    "celeba_glasses": (64, 64, 3),
    "chairs": (64, 64, 1),
    "color_sprites": (64, 64, 3),
    "digits": (8, 8, 1),
    "dsprites": (64, 64, 1),
    "faces": (64, 64, 3),
    "fashion_mnist": (28, 28, 1),
    "images": (64, 64, 3),
    "mnist": (28, 28, 1),
    "sprites": (64, 64, 1),
}
INFORMATION_GANS = {"gan", "ibgan", "infogan", "infogan_cr"}


def get(name, *method):
    return importlib.import_module(f"ivg.configs.{name}").get_config(*method)


def shape_of(config, name):
    """That of the data, but for JointVAE, which has MNIST at 32x32."""
    if config["method"] == "jointvae" and name in ("mnist", "fashion_mnist"):
        return (32, 32, 1)
    return SHAPES[name]


def test_every_file_is_known_here():
    assert DATA == sorted(SHAPES)


@pytest.mark.parametrize("method", base.METHODS)
@pytest.mark.parametrize("name", DATA)
def test_every_method_takes_its_section(name, method):
    config = get(name, method).to_dict()
    assert config["method"] == method
    assert [other for other in base.METHODS if other in config] == [method]
    assert config["data"]["name"] in data.LOADERS
    assert config["data"]["image_size"] in (0, shape_of(config, name)[0])
    build.check_method(config)
    build.check_numbers(config)
    hyper = copy.deepcopy(config[method])
    shape = shape_of(config, name)
    made = build.make_method(method, image_shape=shape, batch_size=4, hyper=hyper)
    assert hyper == config[method]  # nothing is taken out of the config
    assert made.codes and all(code.size > 0 for code in made.codes.values())
    assert made.phases[-1].end is None or made.phases[-1].end >= config["num_steps"]


@pytest.mark.parametrize("method", base.METHODS)
@pytest.mark.parametrize("name", ["digits", "mnist", "celeba", "chairs", "sprites", "faces"])
def test_networks_and_optimisers_belong_together(name, method):
    """The state can be made, and each of its players has an optimiser of its own."""
    config = get(name, method).to_dict()
    own, shape = config[method], shape_of(config, name)
    made = build.make_method(method, image_shape=shape, batch_size=4, hyper=own)
    state = jax.eval_shape(made.init, jax.random.key(0))
    players = {name for name, value in state._asdict().items() if isinstance(value, Player)}
    assert players and players <= own["optimizer"].keys()


@pytest.mark.parametrize("method", base.METHODS)
@pytest.mark.parametrize("name", DATA)
def test_types_are_those_of_the_base(name, method):
    """So that a float stays a float on the command line, whatever a data set's file says."""
    ours, known = (flatten(get(*args).to_dict()) for args in ((name, method), ("base", method)))
    family = f"{method}.network.name"
    other = f"{method}.network." if ours[family] != known[family] else "none"
    for field in ours.keys() & known.keys():
        if not field.startswith(other):  # each family has its own options
            assert type(ours[field]) is type(known[field]), field
    new = {field for field in ours.keys() - known.keys() if ".network." not in field}
    # IB-GAN's optimiser in the place of Adam.
    assert {field.split(".")[-1] for field in new} <= {"decay", "eps", "momentum"}


@pytest.mark.parametrize("name", DATA)
def test_overrides_keep_types(name):
    config = get(name, "ibgan").lock()  # as ivg.main does
    config.ibgan.beta = 1
    config.ibgan.noise_end = 0
    config.ibgan.optimizer.D.learning_rate = 1
    for value in (
        config.ibgan.beta,
        config.ibgan.noise_end,
        config.ibgan.optimizer.D.learning_rate,
    ):
        assert type(value) is float
    for field, value in {
        "batch_size": 4.5,
        "num_steps": "many",
        "ibgan.dim_z": 1.5,
        "ibgan.beta": "low",
        "ibgan.network.name": 0.5,
        "data.name": 3,
    }.items():
        with pytest.raises(TypeError):
            config.update_from_flattened_dict({field: value})
    with pytest.raises(AttributeError, match="dim_r"):
        config.ibgan.dim_rr = 3


@pytest.mark.parametrize("name", ["base", *DATA])
@pytest.mark.parametrize(
    "wrong, near",
    [("ibgn", "ibgan"), ("infovaegan_invarant", "infovaegan_invariant"), ("mmvea", "mmvae")],
)
def test_an_unknown_method_names_the_nearest(name, wrong, near):
    words = f'no method "{wrong}"; did you mean "{near}"\\? The methods are: ali, beta_tcvae, '
    with pytest.raises(UserError, match=words):
        get(name, wrong)


def test_a_method_unlike_any_other():
    with pytest.raises(UserError, match='no method "xyzzy"; The methods are: ali, beta_tcvae, '):
        base.get_config("xyzzy")


def test_every_method_has_a_section():
    assert base.METHODS.keys() == build.METHODS.keys()
    assert set(base.INFORMATION_GANS) == INFORMATION_GANS


SMALL = {"trunk": "separate", "init": "normal", "ngf": 16, "ndf": 16}
LARGE = {"trunk": "shared", "init": "orthogonal"}
SPRITES_NOISE = {"noise_start": 1.0, "noise_end": 0.0, "noise_steps": 100_000}
# The settings of IB-GAN's released code; the step counts are its README's and the paper's.
IBGAN = {
    "sprites": dict(
        num_steps=150_000, dim_z=16, dim_r=10, beta=0.141, d_rate=1e-6, label=(1.0, 1.0)
    )
    | SPRITES_NOISE
    | SMALL,
    "color_sprites": dict(
        num_steps=500_000, dim_z=16, dim_r=10, beta=0.071, d_rate=1e-6, label=(1.0, 1.0)
    )
    | SPRITES_NOISE
    | SMALL,
    "celeba": dict(
        num_steps=1_000_000, dim_z=64, dim_r=15, beta=0.35, d_rate=2e-6, label=(0.7, 1.2)
    )
    | dict(noise_start=0.5, noise_end=0.01, noise_steps=1_000_000, ngf=64, ndf=64)
    | LARGE,
    "chairs": dict(num_steps=700_000, dim_z=64, dim_r=10, beta=0.325, d_rate=2e-6, label=(0.7, 1.2))
    | dict(noise_start=0.5, noise_end=0.01, noise_steps=700_000, ngf=32, ndf=16)
    | LARGE,
}


@pytest.mark.parametrize("name", IBGAN)
def test_ibgan_has_the_settings_of_its_released_code(name):
    config = get(name, "ibgan").to_dict()
    own, optimizer = config["ibgan"], config["ibgan"]["optimizer"]
    found = {
        "num_steps": config["num_steps"],
        "d_rate": optimizer["D"]["learning_rate"],
        "label": (own["real_label_low"], own["real_label_high"]),
    }
    found |= {field: own[field] for field in IBGAN[name].keys() & own.keys()}
    found |= {field: own["network"][field] for field in ("ngf", "ndf", "trunk", "init")}
    assert found == IBGAN[name]
    assert own["network"]["name"] == "ibgan64"
    assert config["batch_size"] == 64
    assert optimizer.keys() == set("EGQD")
    for player, spec in optimizer.items():
        rate = found["d_rate"] if player == "D" else 5e-5
        assert spec == dict(name="rmsprop", learning_rate=rate, decay=0.99, eps=1e-8, momentum=0.9)


@pytest.mark.parametrize("name", ["sprites", "color_sprites", "dsprites", "celeba", "chairs"])
@pytest.mark.parametrize("method", ["gan", "infogan"])
def test_the_compared_gans_share_what_they_can_with_ibgan(name, method):
    ibgan, own = get(name, "ibgan").to_dict()["ibgan"], get(name, method).to_dict()[method]
    assert own["network"] == ibgan["network"]
    for field in ("noise_start", "noise_end", "noise_steps"):
        assert own[field] == ibgan[field]
    for player, spec in own["optimizer"].items():
        assert spec == ibgan["optimizer"][player]
    if method == "infogan":  # as many codes as IB-GAN's r, and nothing else
        codes = (own["dim_z"], own["dim_c"], own["num_classes"], own["code_prior"])
        assert codes == (0, ibgan["dim_r"], 0, "normal")
    else:
        assert own["dim_z"] == ibgan["dim_z"]


@pytest.mark.parametrize("name", ["sprites", "color_sprites", "dsprites"])
def test_the_gan_plays_as_long_as_the_others_and_then_fits_its_codes(name):
    gan, infogan = get(name, "gan"), get(name, "infogan")
    assert gan.gan.game_steps == infogan.num_steps == 150_000
    assert gan.num_steps == 2 * gan.gan.game_steps


def test_dsprites_is_sprites_from_files():
    ours, theirs = get("dsprites").to_dict(), get("sprites").to_dict()
    theirs["data"]["name"] = "dsprites"
    assert ours == theirs


THESIS_ADAM = {"name": "adam", "b1": 0.9, "b2": 0.999}
AUTOENCODER = THESIS_ADAM | {"learning_rate": 1e-3, "milestone_factor": 0.75}
SLOW = THESIS_ADAM | {"learning_rate": 1e-5}
OTHER_PLAYERS = {"mmvae": {"T_cy", "T_zy", "T_zc"}, "csvae": {"q_y"}, "r_cvae": set()}


@pytest.mark.parametrize("method", OTHER_PLAYERS)
@pytest.mark.parametrize("name", ["celeba_glasses", "celeba"])
def test_attribute_methods_have_the_settings_of_the_thesis(name, method):
    """Kim, 2019; where it is silent (batch, epochs as the milestones' unit), our choice."""
    config = get(name, method).to_dict()
    own = config[method]
    assert config["batch_size"] == 128
    assert config["attributes"] == ("Eyeglasses",)
    assert own["network"] == {"name": "mmvae64", "width": 1.0}
    assert own["dim_z"] == 512
    expected = {"E": AUTOENCODER, "G": AUTOENCODER} | dict.fromkeys(OTHER_PLAYERS[method], SLOW)
    assert own["optimizer"] == expected
    assert own["epoch_steps"] == 0  # that of the data
    assert method == "r_cvae" or own["statistics"] == {"width": 512, "depth": 7}
    if method == "mmvae":
        assert (own["weight_cy"], own["weight_zy"], own["weight_zc"]) == (0.0, 1.0, 1.0)
        assert (own["product"], own["gradient"]) == ("second", "plain")
    if method == "csvae":
        assert own["weight_entropy"] == 1.0
    assert config["attribute_scores"]["estimates"] == 5


@pytest.mark.parametrize("method", OTHER_PLAYERS)
def test_rendered_faces_differ_from_the_thesis_in_size_and_pace_only(method):
    """Made for a CPU; but for c's divergence at the start, the objective is the thesis'."""
    ours, thesis = (flatten(get(name, method).to_dict()) for name in ("faces", "celeba_glasses"))
    changed = {field for field in thesis if ours[field] != thesis[field]}
    of_method = {field for field in changed if field.startswith(f"{method}.")}
    size = {"network.width", "dim_z", "kl_c_start", "kl_c_steps"}
    if method != "r_cvae":
        size |= {"statistics.width", "statistics.depth"}
    size |= {f"optimizer.{player}.learning_rate" for player in OTHER_PLAYERS[method]}
    assert of_method == {f"{method}.{field}" for field in size}
    assert changed - of_method <= {
        "num_steps",
        "batch_size",
        "log_every",
        "eval_every",
        "attributes",
        "data.name",
        "data.in_memory",
        "attribute_scores.classifier_steps",
    }
    assert ours["attributes"] == ("glasses",)


@pytest.mark.parametrize("method", OTHER_PLAYERS)
def test_length_and_crop_of_the_thesis(method):
    """1,000 epochs of the 30,000 training images; 138 pixels of CelebA are kept."""
    assert get("celeba_glasses", method).num_steps == 1_000 * (30_000 // 128) == 234_000
    assert get("celeba", method).data.crop == "mmvae"  # that of celeba_glasses has no other


@pytest.mark.parametrize("method", OTHER_PLAYERS)
def test_defaults_of_the_factories_are_those_of_the_configs(method):
    """So that a method built by hand is the thesis' too."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(build.METHODS[method]).parameters.items()
        if parameter.default is not inspect.Parameter.empty and name != "statistics"
    }
    own = get("celeba_glasses", method).to_dict()[method]
    assert defaults and own.items() >= defaults.items()


def test_attribute_methods_take_both_kinds_of_sets():
    assert set(base.ATTRIBUTE_METHODS) == set(build.ATTRIBUTE_METHODS) == set(OTHER_PLAYERS)
    assert get("faces").method == get("celeba_glasses").method == "mmvae"
    for name in base.METHODS:
        assert get("celeba_glasses", name).attributes == ("Eyeglasses",)
        assert get("faces", name).attributes == ("glasses",)
