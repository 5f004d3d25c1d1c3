"""What applications and blueprints know of models: a few names, and nothing loaded for them.

An app without models never imports msgspec or the rest of this package.
"""

from __future__ import annotations

import typing as t
from functools import cached_property

if t.TYPE_CHECKING:
    from .options import Options
    from .registry import Models

T = t.TypeVar("T", bound=t.Callable[..., t.Any])


class ModelDeclaring:
    """What apps and blueprints share of models: the decorator."""

    def model(
        self,
        rule: str,
        *,
        name: str | None = None,
        batch: int = 1,
        wait_ms: float | t.Literal["auto"] = 0,
        deadline_s: float | None = 30.0,
        queue: int | None = None,
        concurrency: int = 1,
        example: t.Any = None,
        max_body_bytes: int | None = None,
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
            name: for `app.models` and `url_for`; by default the last part of the rule. A blueprint
                puts its own before it, as with endpoints: `shop.digits`.
            batch: above 1, `predict` takes lists with one entry per request, up to so many, and
                returns a sequence of the same length: `predict(self, image: list[Image]) ->
                list[Digit]`. An exception in place of a result is the failure of that entry.
            wait_ms: how long a prediction waits for company. 0 computes what is there, while more
                gathers; "auto" waits as long as that pays.
            deadline_s: until the answer. What has not begun by then is never computed (503); what
                computes is given up (504). Of a `predict` that yields, until its first item and
                from each item to the next. None is no limit.
            queue: how many may wait; one more is refused at once with 503. By default 1024, or 8
                batches.
            concurrency: how many calls of `predict` may run at the same time. At 1, it need not be
                thread-safe.
            example: one input, as `predict` gets it or as JSON has it; for several parameters a
                dict. It is predicted before the model is ready, and shown where the model is.
            max_body_bytes: a longer body is refused with 413. By default the config's
                MODEL_MAX_BODY or MAX_CONTENT_LENGTH.
        """
        if not isinstance(rule, str):
            raise TypeError(
                f"@app.model needs the URL of the model: write @app.model('/path') above"
                f" {getattr(rule, '__name__', rule)!r}."
            )

        def decorator(target: T) -> T:
            from .options import Options

            options = Options(
                batch=batch,
                wait_ms=wait_ms,
                deadline_s=deadline_s,
                queue=queue,
                concurrency=concurrency,
                example=example,
            )
            own_name = name or rule.strip("/").rpartition("/")[2] or target.__name__.lower()
            self._register_model(
                rule, target, name=own_name, options=options, max_body_bytes=max_body_bytes
            )
            return target

        return decorator

    def _register_model(
        self, rule: str, target: t.Any, *, name: str, options: Options, max_body_bytes: int | None
    ) -> None:
        raise NotImplementedError

    # Python's own errors about arguments begin with this: the name under which users know it.
    model.__qualname__ = "app.model"


class ModelHost(ModelDeclaring):
    """The part of `Carboy` that holds models."""

    @cached_property
    def models(self) -> Models:
        """The app's models by name: `app.models["digits"].predict(picture)`."""
        from .registry import Models

        return Models()

    def _register_model(
        self,
        rule: str,
        target: t.Any,
        *,
        name: str,
        options: Options,
        max_body_bytes: int | None,
        subdomain: str | None = None,
    ) -> None:
        from .view import register

        register(
            self,
            rule,
            target,
            name=name,
            options=options,
            max_body_bytes=max_body_bytes,
            subdomain=subdomain,
        )

    def load_models(self) -> None:
        """Build every model now instead of at its first prediction.

        A server calls this in each worker before it reports ready. Thread-safe; models that are
        loaded stay as they are.

        Raises:
            ModelLoadError: the `__init__` of a model failed, or its example; the message names
                model and line.
        """
        if "models" in self.__dict__:
            self.models.load()

    def close_models(self, timeout_s: float | None = None) -> None:
        """Answer the predictions that wait, then let every model go; a server's last act.

        Args:
            timeout_s: for each model; None waits without limit.
        """
        if "models" in self.__dict__:
            self.models.close(timeout_s)
