"""Strict settings for every test, and where the optional shared data are looked for."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# The tests' networks are tiny: compiling is what costs, so compile fast rather than well.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ["JAX_COMPILATION_CACHE_DIR"] = ""  # nothing in the user's cache, neither by children

import jax
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("IVG_SHARED", REPOSITORY.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """Folder with oracles and real data beside the checkout; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the optional folder {SHARED} (reference values and real data sets)")
    return SHARED
