"""The model card of an export: what a stranger must know of a model before it is used, as Markdown.

A pure function of what the export's config.json holds. Whatever comes from the user's files, such
as the names of attributes, stands in code spans, which it cannot leave.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ivg.card_scores import code_span, plain, score_sections
from ivg.catalogue import METHODS

DATA = {
    "digits": "1,797 handwritten digits that come with scikit-learn (of UCI's Optical Recognition "
    "of Handwritten Digits, CC BY 4.0)",
    "mnist": "MNIST (LeCun et al., 1998), handwritten digits",
    "fashion_mnist": "Fashion-MNIST (Xiao et al., 2017; MIT licence), articles of clothing",
    "celeb_a": "CelebA (Liu et al., ICCV 2015), photographs of celebrities' faces, which its "
    "authors give for non-commercial research only",
    "celeba_glasses": "CelebA-Glasses (Kim, thesis, 2019): images of CelebA (Liu et al., ICCV "
    "2015; given for non-commercial research only) with one attribute, and twice as many without",
    "sprites": "sprites drawn by ivg as dSprites are (Matthey et al., 2017): one white shape from "
    "five known factors",
    "color_sprites": "sprites drawn by ivg as dSprites are (Matthey et al., 2017), in random "
    "colours",
    "dsprites": "dSprites (Matthey et al., 2017): one white shape from five known factors",
    "chairs": "3D Chairs (Aubry et al., CVPR 2014), rendered chairs",
    "faces": "faces drawn by ivg from known factors; no photograph of anybody",
    "images": "the trainer's own images; whoever publishes this model should say here what they "
    "show and under which terms",
}

CLASSES = 20  # are named

SNIPPET = """\
import jax, numpy as np, pathlib
from jax import export
from safetensors.numpy import load_file

def load(file):
    exported = part = export.deserialize(bytearray(pathlib.Path(file).read_bytes()))
    while part:  # the program, then its derivatives; each may check the shapes of its inputs
        if "custom_call" in part.mlir_module().replace("custom_call @shape_assertion(", ""):
            raise ValueError(f"{{file}} calls code that is not in it")
        part = part.vjp() if part.has_vjp() else None
    return jax.jit(exported.call)

weights = jax.device_put(load_file("weights.safetensors"))
example = np.load("example.npz", allow_pickle=False)
generate = load("generate.jax_export")
codes = {{name: example[f"codes.{{name}}"] for name in {names}}}
images = generate(weights, codes)  # uint8 {images}
print(images.shape, "grey levels off:", np.abs(np.int32(images) - example["images"]).max())
"""
ENCODING = """\
encode = load("encode.jax_export")
codes = encode(weights, {inputs})  # {codes}
print("codes off by", {{k: np.abs(v - example[f"encoded.{{k}}"]).max() for k, v in codes.items()}})
"""


def card(about: Mapping[str, Any]) -> str:
    """README.md of an export, of what its config.json holds."""
    parts = [
        _front_matter(about),
        f"# {about['method']} on {plain(about['data'])}",
        _what(about),
        *_loading(about),
        *_method(about),
        *_codes(about),
        *_functions(about),
        *_scores(about),
        *_use(about),
        *_origin(about),
    ]
    return "\n\n".join(parts) + "\n"


# ---- words --------------------------------------------------------------------------------------


def table(*rows: Sequence[str]) -> str:
    """Rows, the first of which is the head."""
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def settings(section: Mapping[str, Any]) -> str:
    """A section of the config, a field a line and an optimiser a line."""
    flat = {name: value for name, value in section.items() if name != "optimizer"}
    flat |= {f"optimizer.{name}": value for name, value in section["optimizer"].items()}
    # Backticks would end the block that this stands in.
    lines = (f"{' '.join(name.split())}: {json.dumps(value)}" for name, value in flat.items())
    return "\n".join(lines).replace("`", "'")


def _front_matter(about: Mapping[str, Any]) -> str:
    tags = ["jax", "stablehlo", "disentanglement", "generative-model", about["method"]]
    lines = ["library_name: jax", "tags:", *(f"- {json.dumps(tag)}" for tag in tags)]
    return "\n".join(["---", *lines, "---"])


def _what(about: Mapping[str, Any]) -> str:
    encodes = "encode" in about["functions"]
    what = "An encoder and a generator" if encodes else "A generator (there is no encoder)"
    return (
        f"{what} of images {_size(about)}, exported with `python -m ivg.export` from a run of "
        f"ivg after {about['step']:,} training steps. Here are StableHLO "
        "programs and their weights; neither the training code nor its libraries are needed."
    )


def _size(about: Mapping[str, Any]) -> str:
    return "x".join(map(str, about["image_shape"]))


# ---- sections -----------------------------------------------------------------------------------


def snippet(about: Mapping[str, Any]) -> str:
    """Python that loads the export, tries its example and says by how much the outputs differ."""
    names, rows = json.dumps(list(about["codes"])), about["example"]["rows"]
    text = SNIPPET.format(names=names, images=[rows, *about["image_shape"]])
    if "encode" not in about["functions"]:
        return text
    inputs = [f'example["{name}"]' for name in about["functions"]["encode"]["inputs"]]
    codes = ", ".join(f"{name} {[rows, code['size']]}" for name, code in about["codes"].items())
    return text + ENCODING.format(inputs=", ".join(inputs), codes=f"float32 {codes}")


def _loading(about: Mapping[str, Any]) -> Iterator[str]:
    yield "## Load it"
    yield "`pip install jax flatbuffers safetensors`, then in this folder"
    yield f"```python\n{snippet(about)}```"
    yield (
        "The last lines compare with what the exporting machine computed: codes agree to about "
        "1e-5 on a CPU, less closely where matrix products are rounded (TF32 on GPUs, bfloat16 on "
        "TPUs). Programs take any number of images at once and are compiled once for each number."
    )
    yield (
        "These files hold StableHLO, which XLA compiles, and arrays; no Python code and no pickle. "
        "A program of that kind may call native code of the machine that runs it (`custom_call`): "
        "the programs written here do not, and the lines above refuse one that does. One from a "
        "stranger can still take time and memory without bounds, and readers and compilers have "
        "faults (JAX asks that such files be trusted): load what comes from people you trust, or "
        "in a sandbox."
    )


def _method(about: Mapping[str, Any]) -> Iterator[str]:
    run = about["run"]
    yield "## Method and data"
    if known := METHODS.get(about["method"]):
        yield f"**{known.title}**: {known.line}. {known.reference}."
    shape = f"Images are {_size(about)} (height x width x channels), bytes from 0 to 255."
    known_data = DATA.get(about["data"], "no description is known")
    yield f"**{plain(about['data'])}**: {known_data}. {shape}"
    if about["classes"]:
        names = ", ".join(map(code_span, about["classes"][:CLASSES]))
        more = (
            f" and {len(about['classes']) - CLASSES} more"
            if len(about["classes"]) > CLASSES
            else ""
        )
        yield f"The data have the classes {names}{more}; training did not see them."
    yield (
        f"Trained for {about['step']:,} steps with batches of {plain(run['batch_size'])}, seed "
        f"{plain(run['seed'])}, precision {plain(run['precision'])}. The method's own settings "
        "(all others are in `config.json`):"
    )
    yield f"```\n{settings(run[about['method']])}\n```"


def _codes(about: Mapping[str, Any]) -> Iterator[str]:
    yield "## Codes"
    rows = [("name", "kind", "size", "drawn in training", "range of traversals")]
    for name, code in about["codes"].items():
        moves = f"{code['low']:g} to {code['high']:g}" if code["kind"] == "continuous" else "-"
        kind = code["kind"] if code["kind"] != "noise" else "noise (the rest of the image)"
        rows.append((f"`{name}`", kind, str(code["size"]), code["prior"], moves))
    yield table(*rows)
    yield (
        "All are float32 `[n, size]`. What a dimension or a class stands for was found by training "
        "and has to be looked at: change one code, keep the others."
    )


def _functions(about: Mapping[str, Any]) -> Iterator[str]:
    yield "## Functions"
    rows = [("file", "call", "gives", "bytes")]
    for name, function in about["functions"].items():
        file = function["file"]
        call = f"`{name}(weights, {', '.join(function['inputs'])})`"
        rows.append((f"`{file}`", call, function["output"], f"{about['files'][file]['bytes']:,}"))
    yield table(*rows)
    size = about["files"]["weights.safetensors"]["bytes"]
    yield (
        f"`weights` is what `weights.safetensors` holds ({size:,} bytes): {about['num_weights']:,} "
        "numbers, float32, the parameters and batch statistics that these functions use, under "
        'names such as "G/Dense_0/kernel". '
        f"`n` is any number of images. Platforms: {', '.join(about['platforms'])}. Products of "
        f"matrices: precision {plain(about['run']['precision'])}."
    )
    if about["attributes"]:
        names = ", ".join(map(code_span, about["attributes"]))
        yield f"`attributes` are 0 or 1, in this order: {names}."
    if "encode" not in about["functions"]:
        yield about["no_encoder"]
    yield (
        f"`example.npz` holds {about['example']['rows']} codes drawn as in training (`codes.*`), "
        "their images (`images`), and what was encoded from these (`encoded.*`); real images are "
        f"not in it. On export the programs were run on them: {about['example']['words']}."
    )


def _scores(about: Mapping[str, Any]) -> Iterator[str]:
    yield "## Scores"
    results, step = about["results"], about["step"]
    if results is None:
        yield f"None: {about['no_results']}"
        return
    yield (
        f"As the run's evaluation of step {step:,} recorded them; `config.json` holds everything, "
        "also single values behind means."
    )
    sections = list(score_sections(results, about["run"]))
    for title, words, rows in sections:
        yield f"### {title}"
        yield words
        yield table(*rows)
    if not sections:
        yield "The method and the data allow none."


def _use(about: Mapping[str, Any]) -> Iterator[str]:
    yield "## Intended use and limits"
    lines = [
        "- For research and teaching: looking at what a representation separates, comparing "
        "methods, features for small experiments.",
        "- It knows images like those it was trained on, at their size and crop; of others it "
        "makes codes all the same, which mean nothing.",
        "- Which factor a code holds, and whether one code holds one factor, is an outcome, not a "
        "guarantee; another seed may give another.",
        "- The scores above are of this one run on the data named above, nothing else.",
    ]
    if about["data"] in ("celeb_a", "celeba_glasses", "images"):
        lines.append(
            "- Where the data show people: not for identifying or judging anybody. Attributes are "
            "what annotators saw, and the data represent neither all people nor all annotators."
        )
    yield "\n".join(lines)


def _origin(about: Mapping[str, Any]) -> Iterator[str]:
    yield "## Versions and licence"
    rows = [("", "trained and scored with", "exported with")]
    trained, exported = about["trained_with"] or {}, about["exported_with"]
    names = dict.fromkeys([*exported, *trained])
    rows += [
        (plain(n), code_span(trained.get(n, "unknown")), code_span(exported.get(n, "unknown")))
        for n in names
    ]
    yield table(*rows)
    yield (
        "`dirty` says whether files of the checkout differed from its commit. JAX reads exports "
        "of its versions of the last six months at least; when it refuses one, export the run "
        "anew. The safetensors and the config stay readable."
    )
    yield (
        "The code that trained this, ivg, is under the Apache License 2.0. The weights were learnt "
        "from the data named above, whose terms may bind their use."
    )
