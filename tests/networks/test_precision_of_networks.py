"""Networks that compute in bfloat16: their programs, traced and not compiled."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from ivg import networks

KEY = jax.random.key(0)

# Family -> its options and a side of images that it takes.
NETWORKS = {
    ("family", "mlp"): (dict(width=16, generator_norm="batch", encoder_norm="layer"), 8),
    ("family", "small28"): (dict(width=0.1), 8),
    ("family", "infogan28"): (dict(width=0.1), 8),
    ("family", "infovaegan64"): (dict(width=0.1), 32),
    ("family", "infogancr64"): (dict(width=0.1), 16),
    ("code_family", "mlp"): (dict(width=16), 8),
    ("code_family", "infogan28"): (dict(width=0.1), 8),
    ("code_family", "ibgan64"): (dict(ngf=4, ndf=4, trunk="shared"), 16),
    ("code_family", "infogancr64"): (dict(width=0.1), 16),
    ("attribute_family", "mlp"): (dict(width=16), 8),
    ("attribute_family", "mmvae64"): (dict(width=0.1), 16),
    ("autoencoder_family", "mlp"): (dict(width=16), 8),
    ("autoencoder_family", "dlib64"): (dict(width=0.1), 64),
    ("autoencoder_family", "jointvae"): (dict(width=0.1), 32),
    ("mixture_family", "mlp"): (dict(width=16), 8),
    ("mixture_family", "mixture64"): (dict(width=0.02), 64),
}
TABLES = ("FAMILIES", "CODE_FAMILIES", "ATTRIBUTE_FAMILIES", "AUTOENCODER_FAMILIES") + (
    "MIXTURE_FAMILIES",
)


def test_every_family_is_below():
    tables = {name.lower().replace("ies", "y"): getattr(networks, name) for name in TABLES}
    assert NETWORKS.keys() == {(kind, name) for kind, table in tables.items() for name in table}


def float32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def members(kind, family, side):
    """Each network of a family, with the inputs that it takes."""
    image = (side, side, 1)
    x, z, y = float32(4, *image), float32(4, 3), float32(4, 2)
    if kind == "attribute_family":
        yield family.encoder(3, 2), (x, y)
        yield family.decoder(image), (z, float32(4, 4))
    elif kind == "autoencoder_family":
        yield family.encoder((3, 3)), (x,)
        yield family.decoder(image), (z,)
    elif kind == "mixture_family":
        yield family.encoders(2, (3, 3)), (x,)
        yield family.decoder(2, image), (float32(2, 4, 3), float32(4, 2))
    else:
        yield family.generator(image), (z,)
        if kind == "family":
            yield family.encoder((3, 2)), (x,)
            yield family.critic(), (x,)
            yield family.joint_discriminator(), (x, z)
        else:
            D = family.discriminator()
            features = jax.eval_shape(D.infer, *jax.eval_shape(D.init, KEY, x), x)[1]
            yield family.representation(3), (z,)
            yield D, (x,)
            yield family.reconstructor((3,)), (features,)
            yield family.pair_classifier(3), (float32(4, side, side, 2),)


def products(jaxpr, found):
    """Counts matrix products and convolutions by (name, dtypes of the two factors)."""
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in ("dot_general", "conv_general_dilated"):
            found[name, *(str(v.aval.dtype) for v in equation.invars)] += 1
        for inner in jaxprs_in_params(equation.params):
            products(inner, found)
    return found


def dtypes(tree):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}


def traced(net, inputs):
    """The gradient's program with respect to parameters and inputs, and what goes in and out."""
    params, stats = jax.eval_shape(net.init, KEY, *inputs)

    def loss(params, inputs, stats):
        outputs, moved = net.train(params, stats, *inputs)
        return sum(jnp.sum(y**2) for y in jax.tree.leaves(outputs)), (outputs, moved)

    gradient = jax.grad(loss, (0, 1), has_aux=True)
    program, (made, (outputs, moved)) = jax.make_jaxpr(gradient, return_shape=True)(
        params, inputs, stats
    )
    assert jax.tree.map(jnp.shape, moved) == jax.tree.map(jnp.shape, stats)
    return program.jaxpr, outputs, (params, stats, made, outputs, moved)


def check(net, inputs, *, copies=1, power_iterations=0):
    """Float32 but for most products: none is mixed, wide ones make linear outputs."""
    program, outputs, arrays = traced(net, inputs)
    assert dtypes(arrays) == {"float32"}
    found = products(program, collections.Counter())
    narrow = {key: n for key, n in found.items() if set(key[1:]) == {"bfloat16"}}
    wide = {key: n for key, n in found.items() if set(key[1:]) == {"float32"}}
    assert narrow and found == narrow | wide, found
    assert wide.keys() <= {("dot_general", "float32", "float32")}, found
    linear = copies * sum(out.ndim < 4 for out in jax.tree.leaves(outputs))
    # One product forward and two backward, of a linear output as of a spectral norm's v^T W u.
    assert sum(wide.values()) <= 3 * linear + power_iterations, found


@pytest.mark.parametrize(("kind", "name"), NETWORKS)
def test_networks_compute_in_bfloat16_and_give_float32(kind, name):
    options, side = NETWORKS[kind, name]
    family = getattr(networks, kind)(name, dtype=jnp.bfloat16, **options)
    copies = 2 if kind == "mixture_family" else 1
    with jax.numpy_dtype_promotion("strict"):
        for net, inputs in members(kind, family, side):
            check(net, inputs, copies=copies, power_iterations=30 if "cr64" in name else 0)


def test_discriminator_of_codes():
    D = networks.code_discriminator(width=8, depth=2, dtype=jnp.bfloat16)
    with jax.numpy_dtype_promotion("strict"):
        check(D, (float32(4, 3),))


def test_without_a_dtype_nothing_changes():
    family, plain = (networks.family("mlp", width=8, **o) for o in ({"dtype": None}, {}))
    texts = [str(traced(f.critic(), (float32(4, 8, 8, 1),))[0]) for f in (family, plain)]
    assert texts[0] == texts[1] and "bf16" not in texts[0]


def test_pixels_are_finer_than_bfloat16():
    """Near 1 bfloat16 has steps of 2^-8; a generator's images have more values than that."""
    net = networks.family("mlp", width=8, dtype=jnp.bfloat16).generator((8, 8, 1))
    z = 3.0 * jax.random.normal(KEY, (64, 4))
    params, stats = net.init(KEY, z)
    x = np.asarray(net.infer(params, stats, 10.0 * z))
    coarse = x.astype(jnp.bfloat16).astype(np.float32)
    assert np.max(np.abs(x)) <= 1.0 and np.max(np.abs(x - coarse)) > 2**-10


def test_penalty_of_a_convolutional_critic():
    """Its gradient, through two derivatives, is that of float32 to 5 % in norm, and not equal."""
    x = jax.random.uniform(KEY, (8, 8, 8, 1), minval=-1.0)
    nets = [networks.family("infogan28", width=0.1, dtype=d).critic() for d in (None, jnp.bfloat16)]
    params, stats = jax.jit(nets[0].init)(KEY, x)

    def penalty(params, net):
        slopes = jax.grad(lambda x: jnp.sum(net.infer(params, stats, x)))(x)
        return jnp.sum((jnp.sqrt(jnp.sum(slopes**2, axis=(1, 2, 3))) - 1.0) ** 2)

    wanted, found = (
        jnp.concatenate([jnp.ravel(g) for g in jax.tree.leaves(jax.jit(jax.grad(f))(params))])
        for f in (functools.partial(penalty, net=net) for net in nets)
    )
    error = jnp.linalg.norm(found - wanted) / jnp.linalg.norm(wanted)
    assert 1e-5 < error < 0.05
