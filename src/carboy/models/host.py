"""What the application class knows of models: three names, and nothing loaded for them.

An app without models never imports msgspec or the rest of this package.
"""

from __future__ import annotations

import typing as t
from functools import cached_property

if t.TYPE_CHECKING:
    from .registry import Models

T = t.TypeVar("T", bound=t.Callable[..., t.Any])


class ModelHost:
    """The part of `Carboy` that holds models."""

    @cached_property
    def models(self) -> Models:
        """The app's models by name: `app.models["digits"].predict(picture)`."""
        from .registry import Models

        return Models()

    def model(
        self, rule: str, *, name: str | None = None, max_body_bytes: int | None = None
    ) -> t.Callable[[T], T]:
        """Serve a model at `rule`: POST predicts, GET tells what it takes and gives.

            @app.model("/digits")
            class Digits:
                def __init__(self) -> None: ...           # once per process, never per request
                def predict(self, image: Image) -> Digit: ...

        The types of `predict` are the interface. A function with types will do where there is
        nothing to load.

        Args:
            rule: a URL without variables.
            name: for `app.models` and `url_for`; by default the last part of the rule.
            max_body_bytes: a longer body is refused with 413. By default MAX_CONTENT_LENGTH, or
                32 MiB where that is not set.
        """

        def decorator(target: T) -> T:
            from .endpoint import register

            register(self, rule, target, name=name, max_body_bytes=max_body_bytes)
            return target

        return decorator

    def load_models(self) -> None:
        """Build every model now instead of at its first prediction.

        A server calls this in each worker before it reports ready. Thread-safe; models that are
        loaded stay as they are.

        Raises:
            ModelLoadError: the `__init__` of a model failed; the message names model and line.
        """
        if "models" in self.__dict__:
            self.models.load()
