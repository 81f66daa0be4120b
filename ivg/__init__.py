"""Disentangled generative modelling in JAX: InfoVAEGAN and its relatives as pure functions.

`ivg.load("runs/digits")` gives the trained model of a run directory, an `ivg.Model`.
"""

__version__ = "0.1.0"
__all__ = ["Model", "load"]


def __getattr__(name: str):
    """`load` and `Model`, imported when they are asked for: `import ivg` alone needs no JAX."""
    if name in __all__:
        from ivg import model

        return getattr(model, name)
    raise AttributeError(f"module 'ivg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
