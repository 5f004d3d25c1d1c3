"""The interface between application classes and models.

`ModelHost` has the methods of an app that declare, load and close models; `ModelApp` lists the
members of an app that models use. Importing this module is cheap: an app without models never loads
msgspec or the rest of this package.
"""

from __future__ import annotations

import os
import typing as t
from functools import cached_property, wraps
from types import MappingProxyType

if t.TYPE_CHECKING:
    import logging
    import types
    from collections import abc as cabc

    from carboy.access.accessdeclaration import AccessRule
    from carboy.access.cors import Declared
    from carboy.core.overrides import Overrides
    from carboy.ctx import RequestContext

    from .collection import Models
    from .options import Options

T = t.TypeVar("T", bound=t.Callable[..., t.Any])
Declare = t.TypeVar("Declare", bound=t.Callable[..., t.Any])


class ModelApp(t.Protocol):
    """The methods and attributes of an app that its models, and the server of the models, use."""

    name: str
    root_path: str
    models: Models
    config: t.Any
    debug: bool
    testing: bool
    logger: logging.Logger
    request_class: type[t.Any]
    response_class: type[t.Any]
    url_map: t.Any
    subdomain_matching: bool
    view_functions: dict[str, t.Any]
    before_request_funcs: cabc.Mapping[t.Any, t.Any]
    after_request_funcs: cabc.Mapping[t.Any, t.Any]
    url_value_preprocessors: cabc.Mapping[t.Any, t.Any]
    # `_got_first_request` and `_find_error_handler` are private names of Flask that extensions use,
    # so they must not be renamed.
    _got_first_request: bool

    def _find_error_handler(self, e: Exception, blueprints: list[str]) -> t.Any: ...

    @property
    def is_wrapped(self) -> bool: ...

    def find_overrides(self) -> Overrides: ...

    def _user_finder(self) -> cabc.Callable[[], str] | None: ...

    def session_needs_refresh(self, environ: dict[str, t.Any]) -> bool: ...

    def add_url_rule(
        self, rule: str, endpoint: str | None, view_func: t.Any, **options: t.Any
    ) -> None: ...

    def request_context(self, environ: dict[str, t.Any]) -> RequestContext: ...

    def respond(
        self, ctx: RequestContext, environ: dict[str, t.Any], start_response: t.Any
    ) -> cabc.Iterable[bytes]: ...

    def handle_user_exception(self, e: Exception) -> t.Any: ...

    def handle_http_exception(self, e: t.Any) -> t.Any: ...

    def trap_http_exception(self, e: Exception) -> bool: ...


def _explaining_arguments(model: Declare) -> Declare:
    """Make the decorated method report an unknown option, or a missing rule, with advice on what to
    write.
    """
    known = t.cast("types.FunctionType", model).__kwdefaults__ or {}
    # Python's TypeError about a wrong argument begins with the function's `__qualname__`, so set it
    # to the name by which users call this method.
    model.__qualname__ = "app.model"

    @wraps(model)
    def checked(self: t.Any, *args: t.Any, **options: t.Any) -> t.Any:
        for name in options:
            if name not in known and name != "rule":
                from carboy.core.advice import did_you_mean

                raise TypeError(
                    f"app.model() has no option {name!r}.{did_you_mean(name, known)} Its options"
                    f" are {', '.join(known)}."
                )
        if not args and "rule" not in options:
            raise _without_rule(None)
        return model(self, *args, **options)

    return t.cast("Declare", checked)


def _without_rule(given: object) -> TypeError:
    above = "a class or def" if given is None else repr(getattr(given, "__name__", given))
    return TypeError(
        f"@app.model needs the URL of the model: write @app.model('/path') above {above}."
    )


def _located(root_path: str, source: object, rule: str) -> str | None:
    """Return the absolute path, or the URL, of the option `source`."""
    if source is None:
        return None
    if not isinstance(source, (str, os.PathLike)) or not os.fspath(source):
        raise ValueError(
            f"app.model({rule!r}, source={source!r}): expected the path of a folder, such as"
            " 'models/digits', relative to the folder of the app, or an fsspec URL, such as"
            " 's3://bucket/models/digits'."
        )
    from .sources import is_url, refuse_without_fsspec

    path = os.fspath(source)
    if is_url(path):
        refuse_without_fsspec(path, f"app.model({rule!r}, source=...)")
        return path
    return os.path.join(root_path, path)


class ModelDeclaring:
    """The decorator `model`, which both apps and blueprints have."""

    root_path: str

    @_explaining_arguments
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
        examples: cabc.Mapping[str, t.Any] = MappingProxyType({}),
        device: str | cabc.Sequence[str] | None = None,
        device_lock: bool = True,
        max_body_bytes: int | None = None,
        source: str | os.PathLike[str] | None = None,
        replicas: int | tuple[int, int] | None = None,
        resources: cabc.Mapping[str, float] = MappingProxyType({}),
        retry: bool = True,
        max_rss: int | str | None = None,
        start_timeout_s: float = 600.0,
        canary: cabc.Mapping[str, float] = MappingProxyType({}),
        canary_key: str | None = None,
        shadow: str | None = None,
        access: AccessRule | None = None,
        rate: str | cabc.Sequence[str] | None = None,
        cors: Declared = None,
        hold_s: float | None = None,
    ) -> t.Callable[[T], T]:
        """Serve a model at `rule`: POST predicts, GET describes inputs and results.

            @app.model("/digits")
            class Digits:
                def __init__(self) -> None: ...           # once per process, never per request
                def predict(self, image: Image) -> Digit: ...

        The types of `predict` define inputs and results. A function with types is enough if there
        is nothing to load.

        Args:
            rule: a URL without variables.
            name: the name in `app.models` and `url_for`; by default the last part of the rule. A
                blueprint prefixes its own name, as with endpoints: `shop.digits`.
            batch: the largest batch. Above 1, `predict` takes lists with one entry per request and
                returns a sequence of the same length: `predict(self, image: list[Image]) ->
                list[Digit]`. An exception in place of a result fails that entry alone.
            wait_ms: milliseconds that a prediction waits for others to join its batch. With 0, an
                idle model computes at once; "auto" waits as long as that raises the throughput.
                Without effect if `batch` is 1.
            deadline_s: seconds until the result. A prediction that has not begun by then is never
                computed (503); one that is computing is given up (504). If `predict` yields, the
                limit applies to the first item, and again to each further item. None: no limit.
            queue: how many predictions may wait; one more is refused at once with 503. If this is
                below `batch`, batches are not larger. By default 1024, or 8 batches if that is
                more.
            concurrency: how many calls of `predict` may run at the same time. With 1, `predict`
                need not be thread-safe.
            example: one input, as a Python value or as JSON; a dict by name for several parameters.
                It is predicted before the model is ready, and shown on the model's page. As
                `Golden(input, answer=...)` it has the answer that the model must give; with another
                one the model, or a new version of it, is not served.
            examples: more inputs to choose from on the model's page, by their titles, golden or
                not. Each must fit the types of `predict`. If there is no `example`, the first of
                them takes its place.
            device: the name of the device on which `predict` computes, such as "cuda:0". Models
                that name the same device compute one after the other, so that they do not need its
                memory at the same time: those of a process, and all replicas of a server. Without
                replicas, carboy only compares names: `predict` chooses the device. With replicas,
                it may be a list, whose devices the replicas use in turn, and each process sees its
                own device only; with "cpu", the replicas divide the cores among them.
            device_lock: False lets the model compute on its device at the same time as others.
            max_body_bytes: a longer body is refused with 413. By default the config key
                MODEL_MAX_BODY or MAX_CONTENT_LENGTH.
            source: a folder of versions, such as "models/digits" with "models/digits/7", or the
                folder of a single one, which `carboy.models.save` has written; relative to the
                folder of the app. Or the fsspec URL of one, such as "s3://bucket/models/digits".
                The newest version is served, from its appearance on. `__init__(self, path)` gets
                the path of its folder, after the files were compared with the card in the folder.
                The model's page shows the card.
            replicas: how many processes beside the server's workers load the model and compute its
                batches, shared by all workers. By default each worker loads the model itself. Two
                numbers, such as (1, 8), are the least and the most: `carboy serve --on ray` starts
                more when predictions wait; on one machine there is the least number.
            resources: what each replica needs of its node with `carboy serve --on ray`, such as
                {"num_gpus": 1, "num_cpus": 2}; also "memory" in bytes, and resources that nodes
                have by `ray start --resources`. By default one CPU, and one GPU if `device` is
                "cuda".
            retry: whether a batch is computed once more, by another replica, if the process dies
                that computes it. False if `predict` changes something elsewhere; the prediction is
                then 503.
            max_rss: how much resident memory a replica may use before another one replaces it, such
                as "2G".
            start_timeout_s: seconds that a replica may take to load the model.
            canary: shares of the requests by the versions that compute them instead of the current
                one, such as {"7": 0.1}. A version that is named here does not become the current
                one by itself; `carboy models switch` makes it so.
            canary_key: the request header by which a request is counted among the share, such as
                "X-User-Id"; by default, and without that header, it is the body. The same key leads
                to the same version.
            shadow: a version that computes the same requests when the model is idle. Its answers
                are compared with those that were sent, and not sent.
            access: "key" if clients need an API key, "open" if they need none. By default as the
                blueprint or the app declares it, else they need one as soon as the app has keys.
            rate: how often a client may send requests to the model, by all protocols together, such
                as "100/minute", "10/second by address" or a list of both; "2000/minute by model"
                counts the requests of all clients. By default as the blueprint or the app declares
                it.
            cors: the sites whose pages may use the model, such as "https://shop.example"; a list,
                "*" for all, or False for none; by default as the blueprint or the app declares it.
            hold_s: seconds for which predictions may wait while a new version takes the place of
                one beside which it does not fit into the memory: the old one is unloaded first. By
                default such a version is refused.
        """
        if not isinstance(rule, str):
            raise _without_rule(rule)

        def decorator(target: T) -> T:
            from .options import Options, check_name

            options = Options(
                batch=batch,
                wait_ms=wait_ms,
                deadline_s=deadline_s,
                queue=queue,
                concurrency=concurrency,
                example=example,
                examples=examples,
                device=device,
                device_lock=device_lock,
                max_body_bytes=max_body_bytes,
                source=_located(self.root_path, source, rule),
                replicas=replicas,
                resources=resources,
                retry=retry,
                max_rss=max_rss,
                start_timeout_s=start_timeout_s,
                canary=canary,
                canary_key=canary_key,
                shadow=shadow,
                access=access,
                rate=rate,
                cors=cors,
                hold_s=hold_s,
            )
            by_rule = rule.strip("/").rpartition("/")[2]
            if not by_rule:
                by_rule = getattr(target, "__name__", type(target).__name__).lower()
            own_name = by_rule if name is None else name
            # If the rule has variables, leave the error to `register`, whose message is better.
            if "<" not in rule:
                check_name(own_name, rule)
            self._register_model(rule, target, name=own_name, options=options)
            return target

        return decorator

    def _register_model(self, rule: str, target: t.Any, *, name: str, options: Options) -> None:
        raise NotImplementedError


class ModelHost(ModelDeclaring):
    """The methods of an app that register, load and close models."""

    @cached_property
    def models(self) -> Models:
        """The app's models by name: `app.models["digits"].predict(picture)`."""
        from .collection import Models

        return Models()

    def _register_model(
        self,
        rule: str,
        target: t.Any,
        *,
        name: str,
        options: Options,
        subdomain: str | None = None,
    ) -> None:
        from .view import register

        app = t.cast("ModelApp", self)
        register(app, rule, target, name=name, options=options, subdomain=subdomain)

    def _add_model_protocols(self) -> None:
        """Add the URLs of the protocols that the configuration switches on."""
        if "models" in self.__dict__:
            from .wires import add_configured

            add_configured(t.cast("ModelApp", self))

    def load_models(self) -> None:
        """Load every model now instead of at its first prediction. Thread-safe.

        Servers call this in each worker before the worker reports ready.

        Raises:
            ModelLoadError: the `__init__` or the example of a model failed; the message names the
                model and the line.
        """
        if "models" in self.__dict__:
            self.models.load()

    def close_models(self, timeout_s: float | None = None) -> None:
        """Compute the waiting predictions, then unload every model. Servers call this when they
        stop.

        Args:
            timeout_s: seconds for each model; None waits without limit.
        """
        if "models" in self.__dict__:
            self.models.close(timeout_s)
