"""Checks the options of a model that concern its versions."""

from __future__ import annotations

import math
import re
import typing as t
from collections import abc as cabc

from carboy.errors import ModelFileError

if t.TYPE_CHECKING:
    from ..options import Options

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # a token of RFC 9110, section 5.6.2


def check_version_options(options: Options) -> None:
    """Refuse options that contradict each other, or would have no effect.

    Raises:
        ValueError: the text says what was expected.
    """
    _check_canary(options.canary)
    if options.canary_key is not None:
        _check_canary_key(options)
    shadow: t.Any = options.shadow
    if shadow is not None and (not isinstance(shadow, str) or not shadow):
        raise ValueError(f"app.model(..., shadow={shadow!r}): expected a version, such as '7'.")
    for name in [*options.canary, *([] if shadow is None else [shadow])]:
        _check_name(name)
    if shadow is not None and shadow in options.canary:
        raise ValueError(
            f"app.model(..., canary={options.canary!r}, shadow={shadow!r}): a version that answers"
            " some of the requests has nothing to be compared with. Name another one, or leave out"
            " one of the options."
        )
    for name in ("canary", "shadow", "hold_s"):
        if options.source is None and (value := getattr(options, name)):
            raise ValueError(
                f"app.model(..., {name}={value!r}) has no effect without source=..., the folder or"
                " URL with the versions of the model."
            )


def _check_name(name: str) -> None:
    from ..saved.versionnames import refuse_name

    try:
        refuse_name(name)
    except ModelFileError as exc:
        raise ValueError(f"app.model(..., canary=..., shadow=...): {exc}") from None


def _check_canary(canary: t.Any) -> None:
    fits = isinstance(canary, cabc.Mapping) and all(map(_is_share, canary.items()))
    if not fits or math.fsum(canary.values()) > 1:
        raise ValueError(
            f"app.model(..., canary={canary!r}): expected shares of the requests, above 0 and"
            " together at most 1, by the versions that compute them, such as {'7': 0.1}."
        )


def _is_share(item: tuple[t.Any, t.Any]) -> bool:
    name, share = item
    if not isinstance(name, str) or not name or isinstance(share, bool):
        return False
    return isinstance(share, (int, float)) and 0 < share <= 1


def _check_canary_key(options: Options) -> None:
    key: t.Any = options.canary_key
    if not isinstance(key, str) or not _HEADER.fullmatch(key):
        raise ValueError(
            f"app.model(..., canary_key={key!r}): expected the name of a request header, such as"
            " 'X-User-Id'. Requests with the same value of it are computed by the same version."
        )
    if not options.canary:
        raise ValueError(
            f"app.model(..., canary_key={key!r}) has no effect without canary=..., such as"
            " {'7': 0.1}."
        )
