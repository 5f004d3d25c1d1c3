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
    from carboy.contract.tables import DataFrame as DataFrame
    from carboy.contract.tables import TableOptions as TableOptions
    from carboy.contract.tensors import Tensor as Tensor
    from carboy.contract.tensors import TensorOptions as TensorOptions

    from .refusals import AnswerError as AnswerError
    from .refusals import CancelledError as CancelledError
    from .refusals import ClosedError as ClosedError
    from .refusals import DeadlineError as DeadlineError
    from .refusals import QueuedTooLongError as QueuedTooLongError
    from .refusals import QueueFullError as QueueFullError
    from .refusals import StuckError as StuckError
    from .refusals import UnavailableError as UnavailableError
    from .registry import Model as Model
    from .registry import Models as Models

_HOMES = {
    "AnswerError": "carboy.models.refusals",
    "CancelledError": "carboy.models.refusals",
    "ClosedError": "carboy.models.refusals",
    "DataFrame": "carboy.contract.tables",
    "DeadlineError": "carboy.models.refusals",
    "QueueFullError": "carboy.models.refusals",
    "QueuedTooLongError": "carboy.models.refusals",
    "StuckError": "carboy.models.refusals",
    "TableOptions": "carboy.contract.tables",
    "UnavailableError": "carboy.models.refusals",
    "Image": "carboy.contract.images",
    "ImageOptions": "carboy.contract.images",
    "InputError": "carboy.contract.faults",
    "Model": "carboy.models.registry",
    "ModelLoadError": "carboy.contract.faults",
    "Models": "carboy.models.registry",
    "Tensor": "carboy.contract.tensors",
    "TensorOptions": "carboy.contract.tensors",
}

__all__ = [
    "AnswerError",
    "CancelledError",
    "ClosedError",
    "DataFrame",
    "DeadlineError",
    "Image",
    "ImageOptions",
    "InputError",
    "Model",
    "ModelLoadError",
    "Models",
    "QueueFullError",
    "QueuedTooLongError",
    "StuckError",
    "TableOptions",
    "Tensor",
    "TensorOptions",
    "UnavailableError",
]


def __getattr__(name: str) -> t.Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
