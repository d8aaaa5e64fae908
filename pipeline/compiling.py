"""Compiles numeric functions to machine code, once a machine rather than once a process.

Numba (Lam, Pitrou and Seibert, "Numba: a LLVM-based Python JIT compiler", LLVM-HPC 2015) keeps compiled code
beside the source, or else in the user's cache directory; NUMBA_CACHE_DIR names another place. Where none of them
can be written, each process compiles for itself. All of it lets other Python threads run meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` when it is first called, and keep the code on disk where that is possible."""
    try:
        kernel: Callable[P, R] = njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        logging.getLogger(__name__).warning(
            "compiled code cannot be kept: no cache directory is writable; set NUMBA_CACHE_DIR to one",
            extra={"function": function.__name__},
        )
        kernel = njit(nogil=True, error_model="numpy")(function)
    return kernel


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a part of a compiled function, never called from elsewhere; its code is kept with its caller's."""
    return _part(function, fastmath=False)


def reordered(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a part like `inlined`, whose sums may be taken in any order."""
    return _part(function, fastmath={"reassoc", "contract"})


def _part(function: Callable[P, R], fastmath: bool | set[str]) -> Callable[P, R]:
    # Without the ways in from Python and C, which nobody takes, compiling is faster.
    compile_part = njit(  # type: ignore[call-overload]  # its stubs lack two of these options
        error_model="numpy", fastmath=fastmath, no_cpython_wrapper=True, no_cfunc_wrapper=True
    )
    part: Callable[P, R] = compile_part(function)
    return part
