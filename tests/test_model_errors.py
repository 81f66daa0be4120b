"""`ivg.load` and the methods of a `Model`: wrong input and wrong directories are one sentence."""

import doctest
import json
import re
import shutil
import warnings

import numpy as np
import pytest
from tiny_models import METHOD, attributed, quick_settings, start

import ivg
from ivg import arguments, rundir
from ivg.errors import UserError
from ivg.model import make_model


@pytest.fixture(autouse=True, scope="module")
def settings():
    with quick_settings():
        yield


# ---- wrong input --------------------------------------------------------------------------------

GREY = np.zeros((2, 8, 8, 1), np.uint8)
WRONG = [
    (lambda m: m.encode(GREY / 255), r"float64; they must be uint8, 0 to 255.*255 \* images"),
    (lambda m: m.encode(GREY.astype(np.int64)), "int64; they must be uint8"),
    (lambda m: m.encode(GREY[:, :7]), r"\[2, 7, 8, 1\]; this model's are \[N, 8, 8, 1\]"),
    (lambda m: m.encode(np.zeros((2, 8, 8, 3), np.uint8)), "3 channels.*have 1 channel"),
    (lambda m: m.encode(GREY[0]), r"one image alone is images\[None\]"),
    (lambda m: m.encode([GREY[0], GREY[0, 0]]), "images cannot be made into one array"),
    (lambda m: m.encode(GREY, attributes=[1, 0]), "knows no attributes"),
    (lambda m: m.swap(GREY, attributes=[1], to=[0]), "has no attributes to swap"),
    (lambda m: m.generate(e=1), r'no code "e".*d \(10 classes\), c \(2, continuous\)'),
    (lambda m: m.generate(cc=1), 'did you mean "c"'),
    (lambda m: m.generate(d=10), "classes 0 to 9; 10 is none"),
    (lambda m: m.generate(d=[0, -1]), "classes 0 to 9; -1 is none"),
    (lambda m: m.generate(d=1.0), "float64 one number; it must be a class 0 to 9"),
    (lambda m: m.generate(d=np.ones((2, 10))), "must add up to 1"),
    (lambda m: m.generate(d=np.eye(9)), r"\[9, 9\]; it must be a class"),
    (lambda m: m.generate(d="three"), "must be of numbers"),
    (lambda m: m.generate(c=[0.0] * 3), r"\[3\]; it must be \[2\] or \[n, 2\]"),
    (lambda m: m.generate(c=1.0), "has 2 dimensions"),
    (lambda m: m.generate(c=[np.nan, 0]), "not finite"),
    (lambda m: m.generate(d=[1, 2], c=np.zeros((3, 2))), "d is for 2, c is for 3"),
    (lambda m: m.generate(d=[1, 2], n=4), "d is for 2, n=4"),
    (lambda m: m.generate(n=-1), "n is -1"),
    (lambda m: m.sample(2.0), "n is 2.0"),
    (lambda m: m.sample(2, seed="a"), "seed is 'a'"),
    (lambda m: m.traverse("c3"), 'no "c3" to traverse; there are d, c1 to c2, z1 to z3'),
    (lambda m: m.traverse("c0"), 'no "c0"'),
    (lambda m: m.traverse("c"), 'no "c"'),
    (lambda m: m.traverse("d1"), 'no "d1"'),
    (lambda m: m.traverse("c1", start={"c": [[0, 0]] * 2}), "codes of 2 images; give those of one"),
    (lambda m: m.traverse("c1", steps=0), "steps is 0"),
]


def test_the_examples_of_right_input():
    assert doctest.testmod(arguments) == (0, 6)


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_input_is_one_sentence(number):
    call, sentence = WRONG[number]
    with pytest.raises(UserError, match=sentence) as error:
        call(start().model)
    assert "\n" not in str(error.value)


COLOUR = np.zeros((2, 16, 16, 3), np.uint8)
WRONG_ATTRIBUTES = [
    (lambda m: m.encode(COLOUR), r"attributes=\[2, 2\], 0 or 1 for Hat, Smile"),
    (lambda m: m.encode(COLOUR, [[1, 2], [0, 0]]), "0 or 1 for each of Hat, Smile"),
    (lambda m: m.encode(COLOUR, [["yes", "no"]] * 2), "0 or 1 for each of Hat, Smile"),
    (lambda m: m.encode(COLOUR, np.zeros((3, 2))), r"\[3, 2\]; for 2 images it is \[2, 2\]"),
    (lambda m: m.swap(COLOUR, attributes=[1, 0], to=[1, 0, 0]), r"to is \[3\]"),
]


@pytest.mark.parametrize("number", range(len(WRONG_ATTRIBUTES)))
def test_wrong_attributes_are_one_sentence(number):
    call, sentence = WRONG_ATTRIBUTES[number]
    with pytest.raises(UserError, match=sentence):
        call(attributed().model)


# ---- directories --------------------------------------------------------------------------------


def test_directories_that_hold_no_run(tmp_path):
    with pytest.raises(UserError, match="there is no directory"):
        ivg.load(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        ivg.load(tmp_path / "file")
    with pytest.raises(UserError, match="is not a run directory"):
        ivg.load(tmp_path)
    for seed in (0, 1):
        rundir.claim(tmp_path / f"seed_{seed}", {"seed": seed})
    named = f"{re.escape(str(tmp_path))}/seed_0, .*seed_1"
    with pytest.raises(UserError, match=f"holds some; name one of {named}"):
        ivg.load(tmp_path)
    rundir.write_json(tmp_path / "config.json", {"seed": 0})
    with pytest.raises(UserError, match=f"several runs; name one of {named}"):
        ivg.load(tmp_path)
    with pytest.raises(UserError, match="no checkpoint yet"):
        ivg.load(tmp_path / "seed_0")


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda c: c[METHOD].update(gamma_2=1), "a field gamma_2 in its section infovae"),
        (lambda c: c[METHOD]["network"].update(wings=2), 'no option "wings"'),
        (lambda c: c[METHOD].pop("optimizer"), "no field infovaegan_invariant.optimizer"),
        (lambda c: c.update(precision="fp8"), 'does not know precision="fp8"'),
        (lambda c: c.update(method="infovegan"), 'did you mean "infovaegan"'),
        (lambda c: c[METHOD].update(dim_z=4), "of another architecture"),
    ],
)
def test_a_config_of_another_version(tmp_path, change, sentence):
    made = start()
    workdir = shutil.copytree(made.workdir, tmp_path / "run")
    config = json.loads(json.dumps(made.config))
    change(config)
    rundir.write_json(workdir / "config.json", config)
    with pytest.raises(UserError, match=sentence):
        ivg.load(workdir)


def test_fields_that_change_nothing_are_passed_over(tmp_path):
    workdir = shutil.copytree(start().workdir, tmp_path / "run")
    config = rundir.read_config(workdir)
    del config["precision"]
    rundir.write_json(workdir / "config.json", config | {"a_later_field": 1})
    with warnings.catch_warnings(action="error"):
        assert ivg.load(workdir).step == 0


def test_codes_that_are_learnt_late_cannot_be_had_before():
    made = start()
    method = made.run.method._replace(encodes_after=10)
    early, late = (
        make_model(
            made.workdir, made.config, rundir.read_facts(made.workdir), method.at(t), made.state, t
        )
        for t in (10, 11)
    )
    assert late.can_encode and not early.can_encode
    with pytest.raises(
        UserError, match="after step 10 only, and this is the checkpoint of step 10"
    ):
        early.reconstruct(GREY)
