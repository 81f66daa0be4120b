"""Memory that stays with the process, so that a step on a CPU does not ask for it anew.

XLA gives each call of a compiled step one block for all its intermediate results, 60 MB for a VAE
at 64x64. The GNU C library hands blocks of that size back to the system as soon as they are free,
so every step takes them page by page again, which costs 15,000 page faults or a quarter of the
VAE's CPU time (98 ms of CPU a step with them, 86 without; IB-GAN on sprites 27,000).
"""

import ctypes
import sys

# The parameters of mallopt(3), as malloc.h numbers them.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8


def keep_memory() -> bool:
    """Has the C library keep the memory that it frees; to be called before JAX makes its threads.

    The process stays as large as it ever was. Elsewhere than on Linux with the GNU C library
    nothing changes.

    Returns:
        Whether the library took the settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    # No blocks of their own from the system, nothing given back, and one heap for all threads: a
    # thread's own heap is unmapped whole.
    options = ((MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (ARENA_MAX, 1))
    return all([set_option(name, value) == 1 for name, value in options])
