"""Trained models behind a URL.

`@app.model(rule)` on a class with a typed `predict` is the whole interface.
This package stays cheap to import: msgspec comes with the first model that is registered, Pillow
with the first picture, NumPy never.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from carboy.contract.faults import InputError as InputError
    from carboy.contract.faults import ModelLoadError as ModelLoadError
    from carboy.contract.images import Image as Image
    from carboy.contract.images import ImageOptions as ImageOptions
    from .registry import Model as Model
    from .registry import Models as Models

_HOMES = {
    "Image": "carboy.contract.images",
    "ImageOptions": "carboy.contract.images",
    "InputError": "carboy.contract.faults",
    "Model": "carboy.models.registry",
    "ModelLoadError": "carboy.contract.faults",
    "Models": "carboy.models.registry",
}

__all__ = ["Image", "ImageOptions", "InputError", "Model", "ModelLoadError", "Models"]


def __getattr__(name: str) -> t.Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
