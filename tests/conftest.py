"""Strict settings for every test, and where the optional shared data are looked for."""

import atexit
import os
import pathlib
import shutil
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# The tests' networks are tiny: compiling is what costs, so compile fast rather than well. Without
# XLA's newer code for fused operations it takes half the time.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 "
    "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters",
)
os.environ["JAX_COMPILATION_CACHE_DIR"] = ""  # nothing in the user's cache, neither by children
# Of all workers of pytest-xdist, which inherit it: what the commands that tests start compile, and
# one finished run (`command.py`).
if "IVG_TESTS_COMMON" not in os.environ:
    os.environ["IVG_TESTS_COMMON"] = tempfile.mkdtemp(prefix="ivg_common_")
    atexit.register(shutil.rmtree, os.environ["IVG_TESTS_COMMON"], ignore_errors=True)

import jax
import pytest
from reliability import (  # noqa: F401, pytest finds its hooks here
    is_long,
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
)

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


@pytest.fixture(scope="session")
def amount(request):
    """(short, long) -> how much to try: the first number in a plain run, the other by -m faults."""
    return lambda short, long: long if is_long(request.config) else short


@pytest.fixture
def figure(record_property):
    """(group, name, number) for the reliability table, such as ("crashes", "kills", 50)."""
    return lambda group, name, number: record_property(f"{group}.{name}", number)
