"""Views written as classes: `View` has one handler, `MethodView` one for each HTTP method."""

from __future__ import annotations

import typing as t

from .globals import current_app, request

if t.TYPE_CHECKING:
    from . import typing as ft

F = t.TypeVar("F", bound=t.Callable[..., t.Any])

#: The HTTP methods that a `MethodView` recognizes by the name of a Python method.
http_method_funcs = frozenset(("get", "head", "post", "put", "patch", "delete", "options", "trace"))


class View:
    """A view as a class: override `dispatch_request`, register what `as_view` returns.

    ```python
    class Greet(View):
        init_every_request = False

        def dispatch_request(self, name):
            return f"Hello {name}"

    app.add_url_rule("/hello/<name>", view_func=Greet.as_view("greet"))
    ```
    """

    #: HTTP methods the rule accepts; None leaves it to `add_url_rule` (GET, HEAD, OPTIONS).
    methods: t.ClassVar[t.Collection[str] | None] = None

    #: Whether carboy answers OPTIONS by itself; None leaves it to `add_url_rule`.
    provide_automatic_options: t.ClassVar[bool | None] = None

    #: Decorators for the view function, innermost first. Decorating the class has no such effect.
    decorators: t.ClassVar[list[t.Callable[..., t.Any]]] = []

    #: True makes a fresh instance for each request, so that `self` may hold what belongs to it.
    #: False shares one instance: quicker, but then what belongs to a request goes on `g`.
    init_every_request: t.ClassVar[bool] = True

    def dispatch_request(self) -> ft.ResponseReturnValue:
        """Answer the request. Values from the URL come as keyword arguments."""
        raise NotImplementedError(
            f"{type(self).__name__} has no 'dispatch_request' method: define it, or derive from"
            " MethodView and define 'get', 'post' and so on."
        )

    @classmethod
    def as_view(cls, name: str, *class_args: t.Any, **class_kwargs: t.Any) -> ft.RouteCallable:
        """Make a view function of this class.

        Args:
            name: the function's name, and so the endpoint unless another one is registered.
            *class_args: passed to the class whenever it is instantiated.
            **class_kwargs: passed to it as well.

        Returns:
            A function that carries the class as `view_class`; assigning another class to it
            changes what the next request instantiates.
        """
        view: t.Any

        if cls.init_every_request:

            def view(**kwargs: t.Any) -> ft.ResponseReturnValue:
                # Read from the function, not from `cls`: tests and tools replace it there.
                instance = view.view_class(*class_args, **class_kwargs)
                return current_app.ensure_sync(instance.dispatch_request)(**kwargs)  # type: ignore[no-any-return]

        else:
            shared = cls(*class_args, **class_kwargs)

            def view(**kwargs: t.Any) -> ft.ResponseReturnValue:
                return current_app.ensure_sync(shared.dispatch_request)(**kwargs)  # type: ignore[no-any-return]

        _describe(view, cls, name)
        for decorator in cls.decorators:
            view = decorator(view)
        # Once more on the outermost, as a decorator need not copy what it wraps.
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
    """A view that answers each HTTP method with the method of the same name in lower case.

    ```python
    class Counter(MethodView):
        def get(self):
            return str(session.get("count", 0))

        def post(self):
            session["count"] = session.get("count", 0) + 1
            return redirect(url_for("counter"))

    app.add_url_rule("/counter", view_func=Counter.as_view("counter"))
    ```

    `methods` follows from what the class and its bases define, unless the class sets it. HEAD is
    answered by `get` where there is no `head`.
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
