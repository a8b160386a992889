"""Compilation of CPU kernels by numba, kept on disk so that only the first call ever waits for it.

numba keeps machine code beside the module, else in the user's cache folder, and `NUMBA_CACHE_DIR`
names another place. Where none of them can be written, numba refuses to compile at all.
"""

import warnings
from collections.abc import Callable, Collection
from typing import Any

import numba


def compiled(fastmath: Collection[str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a kernel on its first call for given types; other threads run during its calls.

    Args:
        fastmath: LLVM's flags for inexact arithmetic.

    Returns:
        A decorator. Without any place for its code the kernel is compiled anew in every process,
        with a warning.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": set(fastmath), "error_model": "numpy"}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            warnings.warn(
                f"{function.__name__} will be compiled in every process ({error}); set "
                "NUMBA_CACHE_DIR to a folder that can be written",
                stacklevel=2,
            )
            return numba.njit(**options)(function)

    return decorate
