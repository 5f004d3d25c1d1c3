"""Errors of a device after which every later call in the process fails as well."""

from __future__ import annotations

import re

from carboy.errors import InputError

from .exceptiontexts import text_of

# What CUDA calls its errors that destroy the context of the process. Source: the descriptions of
# cudaErrorIllegalAddress, LaunchFailure, Assert, MisalignedAddress, IllegalInstruction,
# HardwareStackError, InvalidPc, LaunchTimeout and ECCUncorrectable, which say that the process must
# be terminated and relaunched, in
# https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html
_STICKY = re.compile(
    r"(?:CUDA|HIP|cuBLAS|CUDNN).{0,200}?"
    r"(illegal memory access|unspecified launch failure|device-side assert|misaligned address"
    r"|illegal instruction|hardware stack error|invalid program counter|launch timed out"
    r"|uncorrectable ECC error)",
    re.IGNORECASE | re.DOTALL,
)
_MAX_CAUSES = 5
# How many characters are searched, at most 200 times each, at each end of a text.
_SEARCHED = 2000
# Exceptions by which a model refuses an input. Their texts often quote it, and a client must not be
# able to let a replica be replaced by sending the words of such an error.
_ABOUT_INPUTS = (ValueError, TypeError, LookupError, AssertionError, InputError)


def sticky_device_fault(exc: BaseException) -> str:
    """Return the words of a device's error after which the process cannot compute any more; "" for
    other exceptions.
    """
    cause: BaseException | None = exc
    for _ in range(_MAX_CAUSES):
        if cause is None:
            break
        if not _is_about_input(cause) and (found := _find(cause)):
            return found
        cause = cause.__cause__ or cause.__context__
    return ""


def _find(exc: BaseException) -> str:
    """Search the beginning and the end of a text: the pattern takes quadratic time, and a client
    may have made the text long.
    """
    text = f"{type(exc).__name__}: {text_of(exc)}"
    found = _STICKY.search(text[:_SEARCHED]) or _STICKY.search(text[-_SEARCHED:])
    return "" if found is None else found[1]


def _is_about_input(exc: BaseException) -> bool:
    # Werkzeug, which a replica need not import, has `get_response` in its HTTPExceptions.
    return isinstance(exc, _ABOUT_INPUTS) or hasattr(exc, "get_response")
