"""Machine-learning models, each served at a URL.

`@app.model(rule)` above a class with a typed `predict` registers a model. The names of this package
are imported when they are first used, so that msgspec is loaded with the first registered model,
and Pillow with the first image.

    host        the methods of an app that declare models; `options` checks what they get
    collection  `app.models`
    model       one model: its types, and the version that computes
    view        its URLs and views; `direct` decides whether a server may go round the view
    protocol    how clients call it; `wires` has the protocols of other model servers
    page        the page on which people try it
    queue       predictions wait here for their batch; `simulation` runs the same on virtual time
    batched     the types of a `predict` that takes batches
    binder      the arguments of a call in Python
    replicas    where batches compute; `raycluster` on a Ray cluster
    versions    versions beside one another
    sources     where versions are stored; `saved` has their files
    example     examples, which `warmup` predicts before the model is ready
    golden      examples with answers, which `agreement` compares
    bulk        many predictions in a program; `bulkfiles` those of a file, `bulktables` of a table;
                `callbackthreads` call what waits for the future of one
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from carboy.contract.values.image import Image as Image
    from carboy.contract.values.image import ImageOptions as ImageOptions
    from carboy.contract.values.tables import DataFrame as DataFrame
    from carboy.contract.values.tables import TableOptions as TableOptions
    from carboy.contract.values.tensor import Tensor as Tensor
    from carboy.contract.values.tensor import TensorOptions as TensorOptions
    from carboy.errors import InputError as InputError
    from carboy.errors import ModelLoadError as ModelLoadError

    from ..errors import AnswerError as AnswerError
    from ..errors import CancelledError as CancelledError
    from ..errors import ClosedError as ClosedError
    from ..errors import DeadlineError as DeadlineError
    from ..errors import LoadingError as LoadingError
    from ..errors import ModelFileError as ModelFileError
    from ..errors import QueuedTooLongError as QueuedTooLongError
    from ..errors import QueueFullError as QueueFullError
    from ..errors import StuckError as StuckError
    from ..errors import UnavailableError as UnavailableError
    from ..errors import WrongAnswerError as WrongAnswerError
    from .collection import Model as Model
    from .collection import Models as Models
    from .golden import Golden as Golden
    from .saved.card import Card as Card
    from .saved.loadmodel import load as load
    from .saved.mlflowmodel import mlflow_model as mlflow_model
    from .saved.savemodel import save as save

_MODULES = {
    "AnswerError": "carboy.errors",
    "CancelledError": "carboy.errors",
    "Card": "carboy.models.saved.card",
    "ClosedError": "carboy.errors",
    "DataFrame": "carboy.contract.values.tables",
    "DeadlineError": "carboy.errors",
    "LoadingError": "carboy.errors",
    "QueueFullError": "carboy.errors",
    "QueuedTooLongError": "carboy.errors",
    "StuckError": "carboy.errors",
    "TableOptions": "carboy.contract.values.tables",
    "UnavailableError": "carboy.errors",
    "WrongAnswerError": "carboy.errors",
    "Golden": "carboy.models.golden",
    "Image": "carboy.contract.values.image",
    "ImageOptions": "carboy.contract.values.image",
    "InputError": "carboy.errors",
    "Model": "carboy.models.collection",
    "ModelFileError": "carboy.errors",
    "ModelLoadError": "carboy.errors",
    "Models": "carboy.models.collection",
    "Tensor": "carboy.contract.values.tensor",
    "TensorOptions": "carboy.contract.values.tensor",
    "load": "carboy.models.saved.loadmodel",
    "mlflow_model": "carboy.models.saved.mlflowmodel",
    "save": "carboy.models.saved.savemodel",
}

__all__ = [
    "AnswerError",
    "CancelledError",
    "Card",
    "ClosedError",
    "DataFrame",
    "DeadlineError",
    "Golden",
    "Image",
    "ImageOptions",
    "InputError",
    "LoadingError",
    "Model",
    "ModelFileError",
    "ModelLoadError",
    "Models",
    "QueueFullError",
    "QueuedTooLongError",
    "StuckError",
    "TableOptions",
    "Tensor",
    "TensorOptions",
    "UnavailableError",
    "WrongAnswerError",
    "load",
    "mlflow_model",
    "save",
]


def __getattr__(name: str) -> t.Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
