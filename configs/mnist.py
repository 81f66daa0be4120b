"""MNIST, 28x28, through tfds."""

from configs import base


def get_config(method: str = "infovaegan_invariant"):
    """The configuration; `method` is the suffix after the colon."""
    config = base.get_config(method)
    config.data.name = "mnist"
    config.num_steps = 6_000
    config.eval_every = 1_000
    own = config[method]
    own.network = dict(name="small28", width=1.0)
    own.dim_z = 16
    own.dim_c = 2
    own.optimizer.G.learning_rate = 5e-4
    own.optimizer.D.learning_rate = 5e-4
    own.optimizer.q_u.learning_rate = 5e-4
    own.optimizer.elbo.learning_rate = 5e-4
    own.optimizer.q_z.learning_rate = 5e-4
    return config
