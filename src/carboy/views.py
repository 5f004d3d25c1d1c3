"""Class-based views: `View` has one handler, `MethodView` one per HTTP method."""

from __future__ import annotations

import typing as t

from .core.flasknames import flask_names
from .globals import current_app, request

if t.TYPE_CHECKING:
    from . import typing as ft

F = t.TypeVar("F", bound=t.Callable[..., t.Any])

#: The HTTP methods that a `MethodView` can implement, as names of its Python methods.
http_method_funcs = frozenset(("get", "head", "post", "put", "patch", "delete", "options", "trace"))


class View:
    """A view as a class: override `dispatch_request`, and register what `as_view` returns.

    ```python
    class Greet(View):
        init_every_request = False

        def dispatch_request(self, name):
            return f"Hello {name}"

    app.add_url_rule("/hello/<name>", view_func=Greet.as_view("greet"))
    ```
    """

    #: The HTTP methods of the view; None leaves the choice to `add_url_rule` (GET, HEAD, OPTIONS).
    methods: t.ClassVar[t.Collection[str] | None] = None

    #: Whether carboy responds to OPTIONS itself; None leaves the choice to `add_url_rule`.
    provide_automatic_options: t.ClassVar[bool | None] = None

    #: Decorators to apply to the view function, innermost first. Decorating the class itself would
    #: not decorate the view function.
    decorators: t.ClassVar[list[t.Callable[..., t.Any]]] = []

    #: Whether to create an instance for each request, so that `self` can hold state of the request.
    #: If False, all requests share one instance, which is faster; state of the request must then be
    #: stored in `g`.
    init_every_request: t.ClassVar[bool] = True

    def dispatch_request(self) -> ft.ResponseReturnValue:
        """Respond to a request. The URL's variables are passed as keyword arguments."""
        raise NotImplementedError(
            f"{type(self).__name__} has no 'dispatch_request' method: define it, or derive from"
            " MethodView and define 'get', 'post' and so on."
        )

    @classmethod
    def as_view(cls, name: str, *class_args: t.Any, **class_kwargs: t.Any) -> ft.RouteCallable:
        """Create a view function for this class.

        Args:
            name: the name of the function, which is also the endpoint if none is given at
                registration.
            *class_args: passed to the class whenever it is instantiated.
            **class_kwargs: passed to the class as well.

        Returns:
            A function whose attribute `view_class` is the class. If another class is assigned to
            this attribute, later requests create instances of it.
        """
        view: t.Any

        if cls.init_every_request:

            def view(**kwargs: t.Any) -> ft.ResponseReturnValue:
                # Read `view_class` instead of using `cls`, because tests and tools may assign
                # another class to this attribute.
                instance = view.view_class(*class_args, **class_kwargs)
                return current_app.ensure_sync(instance.dispatch_request)(**kwargs)  # type: ignore[no-any-return]

        else:
            shared = cls(*class_args, **class_kwargs)

            def view(**kwargs: t.Any) -> ft.ResponseReturnValue:
                return current_app.ensure_sync(shared.dispatch_request)(**kwargs)  # type: ignore[no-any-return]

        _describe(view, cls, name)
        for decorator in cls.decorators:
            view = decorator(view)
        # Set name and docstring on the decorated function, too, because a decorator may not copy
        # them.
        _describe(view, cls, name)
        view.view_class = cls
        view.methods = cls.methods
        view.provide_automatic_options = cls.provide_automatic_options
        return t.cast("ft.RouteCallable", view)


def _describe(view: t.Any, cls: type[View], name: str) -> None:
    view.__name__ = name
    view.__doc__ = cls.__doc__
    view.__module__ = cls.__module__


class MethodView(View):
    """A view with one Python method per HTTP method, named in lower case.

    ```python
    class Counter(MethodView):
        def get(self):
            return str(session.get("count", 0))

        def post(self):
            session["count"] = session.get("count", 0) + 1
            return redirect(url_for("counter"))

    app.add_url_rule("/counter", view_func=Counter.as_view("counter"))
    ```

    `methods` is derived from the Python methods of the class, unless the class sets `methods`. HEAD
    is handled by `get` if there is no `head`.
    """

    def __init_subclass__(cls, **kwargs: t.Any) -> None:
        super().__init_subclass__(**kwargs)
        if "methods" in cls.__dict__:
            return
        found = {name.upper() for name in http_method_funcs if hasattr(cls, name)}
        for base in cls.__bases__:
            found.update(getattr(base, "methods", None) or ())
        if found:
            cls.methods = found

    def dispatch_request(self, **kwargs: t.Any) -> ft.ResponseReturnValue:
        method = request.method
        handler = getattr(self, method.lower(), None)
        if handler is None and method == "HEAD":
            handler = getattr(self, "get", None)
        if handler is None:
            raise AssertionError(
                f"Unimplemented method {method!r}: {type(self).__name__} was registered for it, but"
                f" has no method {method.lower()!r}. Define it, or take it out of 'methods'."
            )
        return current_app.ensure_sync(handler)(**kwargs)  # type: ignore[no-any-return]


if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
