"""Errors of a device after which every later call in the process fails as well."""

from __future__ import annotations

import re

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


def sticky_device_fault(exc: BaseException) -> str:
    """Return the words of a device's error after which the process cannot compute any more; "" for
    other exceptions.
    """
    cause: BaseException | None = exc
    for _ in range(_MAX_CAUSES):
        if cause is None:
            break
        if found := _STICKY.search(f"{type(cause).__name__}: {cause}"):
            return found[1]
        cause = cause.__cause__ or cause.__context__
    return ""
