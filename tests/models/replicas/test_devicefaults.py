"""Errors of a device after which a process of a replica must be replaced."""

import pytest
from werkzeug.exceptions import BadRequest

from carboy.errors import InputError
from carboy.models.replicas.devicefaults import sticky_device_fault

TEXT = "CUDA error: an illegal memory access was encountered"


class AcceleratorError(RuntimeError):
    """As PyTorch calls it."""


def caused(exc: Exception, cause: Exception) -> Exception:
    exc.__cause__ = cause
    return exc


@pytest.mark.parametrize(
    ("exc", "fault"),
    [
        (RuntimeError(TEXT), "illegal memory access"),
        (AcceleratorError(TEXT), "illegal memory access"),
        (caused(ValueError("no result"), RuntimeError(TEXT)), "illegal memory access"),
        (RuntimeError("CUDA out of memory"), ""),
        (RuntimeError("an illegal memory access"), ""),
    ],
)
def test_errors_that_destroy_the_context_of_the_process_are_recognised(exc, fault):
    assert sticky_device_fault(exc) == fault


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_exception_without_a_text_is_no_fault_of_the_device():
    assert sticky_device_fault(caused(Unprintable(), Unprintable())) == ""


@pytest.mark.parametrize("kind", [RuntimeError, KeyError])
@pytest.mark.timeout(60)
def test_long_text_is_searched_at_its_ends_alone(kind):
    long = "CUDA" * 10_000_000  # the search of the whole text would take minutes
    assert sticky_device_fault(kind(long)) == ""
    assert sticky_device_fault(RuntimeError(f"{long} {TEXT}")) == "illegal memory access"
    assert sticky_device_fault(RuntimeError(f"{TEXT} {long}")) == "illegal memory access"


@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyError, InputError, BadRequest])
def test_exception_that_quotes_an_input_says_nothing_of_the_device(kind):
    assert sticky_device_fault(kind(f"cannot read {TEXT!r}")) == ""
