"""Find and render Jinja templates, with the variables that Flask gives them.

Rendering is fast but behaves as in Flask:

* Variables have Flask's precedence: arguments of `render_template`, then context processors, then
globals. A template gets the real objects `request` and `g`, but they are created only if it uses
them; until then proxies take their place (`_LazyContext`).
* Signals are sent, with all arguments of Flask, only if they have receivers.
* If users have replaced one of these functions, it is called: `app.update_template_context`,
`Template.render`, context processors, `app.ensure_sync`.
"""

from __future__ import annotations

import typing as t
from collections import ChainMap
from itertools import chain
from operator import attrgetter

from jinja2 import BaseLoader, Template, TemplateNotFound, TemplatesNotFound
from jinja2 import Environment as BaseEnvironment
from jinja2.runtime import Context
from jinja2.utils import LRUCache, missing

from .core.flasknames import flask_names
from .globals import NOTHING_ACTIVE, LocalProxy, _cv, _find_app, _find_g, _find_request
from .helpers import stream_with_context
from .signals import before_render_template, template_rendered

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import CodeType

    from .app import Carboy
    from .sansio.app import App
    from .sansio.scaffold import Scaffold

    Source: t.TypeAlias = tuple[str, str | None, Callable[[], bool] | None]
    Names: t.TypeAlias = str | Template | list[str | Template]

# How many templates given as text an environment caches in compiled form, and how long each may be.
# Most apps have few such templates. Without limits, an app that builds them from data would fill
# the memory.
MAX_COMPILED_STRINGS = 128
MAX_COMPILED_STRING_CHARS = 32 * 1024


# --- Variables ------------------------------------------------------------------------------------


class _LazyContext(Context):
    """A Jinja context that returns the real `request` and `g` for the proxies `_lazy_request` and
    `_lazy_g`.
    """

    def resolve_or_missing(self, key: str) -> t.Any:
        if key in self.vars:
            return self.vars[key]
        if key not in self.parent:
            return missing
        value = self.parent[key]
        if value is _lazy_request or value is _lazy_g:
            return value._get_current_object()
        return value


# `_LazyContext` replaces only these two proxies. It must not replace the proxies among Jinja's
# globals, because a macro that is imported without context is used in later requests too.
_lazy_request: t.Any = LocalProxy(_find_request)
_lazy_g: t.Any = LocalProxy(_find_g)


def _default_template_ctx_processor() -> dict[str, t.Any]:
    """The context processor that every app has: it returns `request` and `g`, as real objects.

    The session is not included, because reading it marks it as accessed. Then the response would
    vary by cookie even if the template does not use the session.
    """
    app_ctx, request_ctx = _cv.get(None) or NOTHING_ACTIVE
    values: dict[str, t.Any] = {}
    if app_ctx is not None:
        values["g"] = app_ctx.g
    if request_ctx is not None:
        values["request"] = request_ctx.request
    return values


def _update_template_context(self: Carboy, context: dict[str, t.Any]) -> None:
    """Add the variables of all context processors that apply to the request. Variables that exist
    already are kept.

    Args:
        self: the app; this function is its method `update_template_context`.
        context: the variables of the template to be rendered; changed in place.
    """
    _run_processors(self, context, _default_template_ctx_processor)


def _run_processors(
    app: Carboy, context: dict[str, t.Any], default: Callable[[], dict[str, t.Any]]
) -> None:
    """Add to `context` the variables of all context processors that apply to the request. The
    function `default` is called instead of `_default_template_ctx_processor`.
    """
    processors = app.template_context_processors
    names: Iterable[str | None] = (None,)
    # PERF: the request's blueprints are determined only if any blueprint has a context processor.
    if len(processors) > 1 and (active := _cv.get(None)) is not None and active[1] is not None:
        names = chain(names, reversed(active[1].request.blueprints))
    added: dict[str, t.Any] = {}
    for name in names:
        for processor in processors.get(name, ()):
            if processor is _default_template_ctx_processor:
                added.update(default())
            else:
                added.update(app.ensure_sync(processor)())
    for name, value in added.items():
        context.setdefault(name, value)


def _update_with_proxies(app: Carboy, context: dict[str, t.Any]) -> None:
    """Add the variables of context processors to `context`, but `request` and `g` as proxies.

    Only a template with a `_LazyContext` may get this `context`, because it replaces the proxies.
    """
    processors = app.template_context_processors
    if len(processors) == 1 and processors.get(None) == _ONLY_DEFAULT:
        # PERF: a shortcut for apps that, like most, have only the default context processor: it
        # takes 0.1 us instead of 0.5.
        context.setdefault("g", _lazy_g)
        if (active := _cv.get(None)) is not None and active[1] is not None:
            context.setdefault("request", _lazy_request)
    else:
        _run_processors(app, context, _lazy_default_context)


def _lazy_default_context() -> dict[str, t.Any]:
    """Return the variables `request` and `g` of `_default_template_ctx_processor`, but as
    proxies.
    """
    app_ctx, request_ctx = _cv.get(None) or NOTHING_ACTIVE
    values: dict[str, t.Any] = {}
    if app_ctx is not None:
        values["g"] = _lazy_g
    if request_ctx is not None:
        values["request"] = _lazy_request
    return values


_ONLY_DEFAULT = [_default_template_ctx_processor]


# --- Environment and loader -----------------------------------------------------------------------


class _Template(Template):
    """A Jinja template that is rendered faster, because its globals are copied faster."""

    def new_context(
        self,
        vars: dict[str, t.Any] | None = None,
        shared: bool = False,
        locals: Mapping[str, t.Any] | None = None,
    ) -> Context:
        if shared or locals or type(self.globals) is not ChainMap:
            return super().new_context(vars, shared, locals)
        # PERF: Jinja copies the `ChainMap` of globals twice per rendering, key by key in Python,
        # which takes longer than rendering most templates. So the globals are copied into a plain
        # dict.
        plain: dict[str, t.Any] = {}
        for layer in reversed(self.globals.maps):
            plain.update(layer)
        parent = {**plain, **vars} if vars else plain
        return self.environment.context_class(
            self.environment, parent, self.name, self.blocks, globals=plain
        )


class Environment(BaseEnvironment):
    """The Jinja environment of an app, which finds templates in the folders of the app and its
    blueprints.
    """

    _by_name: dict[str, Template]

    def __init__(self, app: App, **options: t.Any) -> None:
        if "loader" not in options:
            options["loader"] = app.create_global_jinja_loader()
        super().__init__(**options)
        self.app = app
        # These classes are attributes of the instance, because as attributes of the class they
        # would take precedence over those of a mixin such as Jinja's `NativeEnvironment`.
        if self.context_class is Context:
            self.context_class = _LazyContext
        if self.template_class is Template:
            self.template_class = _Template
        self._strings = _CompiledStrings(self)
        if isinstance(self.cache, LRUCache):
            self.cache = _TemplateCache(self.cache.capacity)

    def __setattr__(self, name: str, value: t.Any) -> None:
        super().__setattr__(name, value)
        if name in _LOOKUP_ATTRIBUTES:
            self.__dict__["_by_name"] = self._find_names()

    def _find_names(self) -> dict[str, Template]:
        """Return the dict that is used for fast lookups of loaded templates by name.

        The dict stays empty if the name alone does not determine the template: if templates are
        reloaded, or a user has replaced the cache or one of Jinja's methods.
        """
        own = self.__dict__
        cache = own.get("cache")
        if (
            type(cache) is not _TemplateCache
            or self.overlayed  # while `overlay` makes it, it has the cache of the other environment
            or self.auto_reload
            or "get_template" in own
            or "_load_template" in own
            or type(self).get_template is not _get_template
            or type(self)._load_template is not _load_template
        ):
            return {}
        return cache.reset_names()

    def get_or_select_template(
        self,
        template_name_or_list: t.Any,
        parent: str | None = None,
        globals: t.MutableMapping[str, t.Any] | None = None,
    ) -> Template:
        # PERF: this finds a loaded template in 0.2 us, Jinja's method in 0.7. It is not used if a
        # tool has patched Jinja's methods, for example to record which templates are loaded.
        if (
            type(template_name_or_list) is str
            and globals is None
            and parent is None
            and (template := self._by_name.get(template_name_or_list)) is not None
            and BaseEnvironment._load_template is _load_template
            and BaseEnvironment.get_template is _get_template
        ):
            return template
        return super().get_or_select_template(template_name_or_list, parent, globals)

    def select_template(
        self,
        names: t.Iterable[str | Template],
        parent: str | None = None,
        globals: t.MutableMapping[str, t.Any] | None = None,
    ) -> Template:
        try:
            return super().select_template(names, parent, globals)
        except TemplatesNotFound as exc:
            if type(exc) is not TemplatesNotFound or not exc.templates:
                raise
            if not isinstance(self.loader, DispatchingJinjaLoader):
                raise
            raise TemplatesMissing(self.loader, exc.templates) from None

    def from_string(
        self,
        source: t.Any,
        globals: t.MutableMapping[str, t.Any] | None = None,
        template_class: type[Template] | None = None,
    ) -> Template:
        # PERF: compiled strings are cached, because compiling takes 100 times as long as rendering.
        # They are not cached in environments with Jinja extensions or of a subclass, which may
        # compile the same source differently each time.
        if type(source) is not str or self.extensions or type(self) is not Environment:
            return super().from_string(source, globals, template_class)
        cls = template_class or self.template_class
        return cls.from_code(self, self._compile_once(source), self.make_globals(globals), None)

    def _compile_once(self, source: str) -> CodeType:
        strings = self._strings
        if not strings.matches(self):
            # The old cache is replaced and not cleared, because overlays (Jinja's copies of an
            # environment) share it.
            strings = self._strings = _CompiledStrings(self)
        code = strings.codes.get(source)
        if code is None:
            code = self.compile(source)
            strings.store(source, code)
        return code


class _TemplateCache(LRUCache):
    """Jinja's cache of loaded templates, with an additional dict that is keyed by template name
    alone.

    Jinja's keys also contain the loader, so the environment calls `reset_names` when its loader
    changes. Jinja evicts the least recently used template, but does not notice lookups in the
    additional dict. So that dict is emptied, and no longer filled, once the cache is half full.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._names: dict[str, Template] = {}

    def reset_names(self) -> dict[str, Template]:
        self._names = {}
        return self._names

    def __setitem__(self, key: t.Any, value: Template) -> None:
        super().__setitem__(key, value)
        if len(self) * 2 < self.capacity:
            self._names[key[1]] = value
        else:
            self._names.clear()

    def __delitem__(self, key: t.Any) -> None:
        super().__delitem__(key)
        self._names.clear()

    def clear(self) -> None:
        super().clear()
        self._names.clear()


_LOOKUP_ATTRIBUTES = frozenset(("auto_reload", "cache", "loader", "get_template", "_load_template"))
_get_template = BaseEnvironment.get_template
_load_template = BaseEnvironment._load_template


# Returns the attributes of an environment that affect compilation and may change.
_read_settings = attrgetter(
    "block_start_string",
    "block_end_string",
    "variable_start_string",
    "variable_end_string",
    "comment_start_string",
    "comment_end_string",
    "line_statement_prefix",
    "line_comment_prefix",
    "trim_blocks",
    "lstrip_blocks",
    "newline_sequence",
    "keep_trailing_newline",
    "undefined",
    "optimized",
    "finalize",
    "autoescape",
    "is_async",
    "sandboxed",
    "code_generator_class",
    "compile",
)


class _CompiledStrings:
    """A cache of the compiled templates of `render_template_string`, for one Jinja environment.

    It is valid as long as the environment has the settings that it had when the cache was created.
    """

    def __init__(self, env: Environment) -> None:
        self.codes: dict[str, CodeType] = {}
        self._settings = _read_settings(env)
        self._filters = dict(env.filters)
        self._tests = dict(env.tests)

    def matches(self, env: Environment) -> bool:
        # Filters and tests are compared too, because the compiler applies them to constants in a
        # template.
        return (
            self._settings == _read_settings(env)
            and self._filters == env.filters
            and self._tests == env.tests
        )

    def store(self, source: str, code: CodeType) -> None:
        if len(source) > MAX_COMPILED_STRING_CHARS:
            return
        if len(self.codes) >= MAX_COMPILED_STRINGS:
            self.codes.clear()
        self.codes[source] = code


class DispatchingJinjaLoader(BaseLoader):
    """A template loader that searches the app's folder first, then those of its blueprints."""

    def __init__(self, app: App) -> None:
        self.app = app

    def get_source(self, environment: BaseEnvironment, template: str) -> Source:
        if self.app.config["EXPLAIN_TEMPLATE_LOADING"]:
            return self._get_source_explained(environment, template)
        return self._get_source_fast(environment, template)

    def _get_source_fast(self, environment: BaseEnvironment, template: str) -> Source:
        for _, loader in self._iter_loaders(template):
            try:
                return loader.get_source(environment, template)
            except TemplateNotFound:
                continue
        raise TemplateMissing(self, template)

    def _get_source_explained(self, environment: BaseEnvironment, template: str) -> Source:
        """Return the source of a template from the first loader that has it; log what every loader
        has found.
        """
        from .debughelpers import explain_template_loading_attempts

        attempts: list[tuple[BaseLoader, Scaffold, Source | None]] = []
        for owner, loader in self._iter_loaders(template):
            try:
                source = loader.get_source(environment, template)
            except TemplateNotFound:
                attempts.append((loader, owner, None))
            else:
                attempts.append((loader, owner, source))
        explain_template_loading_attempts(self.app, template, attempts)
        for _, _, found in attempts:
            if found is not None:
                return found
        raise TemplateMissing(self, template)

    def _iter_loaders(self, template: str) -> Iterator[tuple[Scaffold, BaseLoader]]:
        owners: Iterable[Scaffold] = chain((self.app,), self.app.iter_blueprints())
        for owner in owners:
            loader = owner.jinja_loader
            if loader is not None:
                yield owner, loader

    def list_templates(self) -> list[str]:
        names: set[str] = set()
        for _, loader in self._iter_loaders(""):
            names.update(loader.list_templates())
        return list(names)


class TemplateMissing(TemplateNotFound):
    """Jinja's error for a missing template, with the searched folders and similar names in the
    message.

    The message is built, and the folders are read, only when somebody reads it: a program may
    expect that a template is missing (`{% include ... ignore missing %}`, or a list of names).
    """

    def __init__(self, loader: DispatchingJinjaLoader, name: str) -> None:
        super().__init__(name)
        self._loader = loader

    def __str__(self) -> str:
        from .debughelpers import describe_missing_templates

        return describe_missing_templates(self._loader, [str(self.name)])

    def __reduce__(self) -> tuple[t.Any, ...]:
        return TemplateNotFound, (self.name, str(self))


class TemplatesMissing(TemplatesNotFound):
    """Jinja's error if none of several templates exists, with the searched folders in the
    message.
    """

    def __init__(self, loader: DispatchingJinjaLoader, names: list[t.Any]) -> None:
        super().__init__(names)
        self._loader = loader

    def __str__(self) -> str:
        from .debughelpers import describe_missing_templates

        return describe_missing_templates(self._loader, [str(name) for name in self.templates])

    def __reduce__(self) -> tuple[t.Any, ...]:
        return TemplatesNotFound, (self.templates, str(self))


# --- Rendering ------------------------------------------------------------------------------------


def _render(app: Carboy, template: Template, context: dict[str, t.Any]) -> str:
    if before_render_template.receivers or template_rendered.receivers:
        return _render_with_signals(app, template, context)
    if (
        type(app).update_template_context is _update_template_context
        and "update_template_context" not in app.__dict__
        and template.environment.context_class is _LazyContext
    ):
        _update_with_proxies(app, context)
    else:
        app.update_template_context(context)
    return template.render(context)


def _render_with_signals(app: Carboy, template: Template, context: dict[str, t.Any]) -> str:
    app.update_template_context(context)
    sent: dict[str, t.Any] = {
        "_async_wrapper": app.ensure_sync,
        "template": template,
        "context": context,
    }
    before_render_template.send(app, **sent)
    page = template.render(context)
    template_rendered.send(app, **sent)
    return page


def render_template(template_name_or_list: Names, **context: t.Any) -> str:
    """Render a template of the app or of one of its blueprints.

    Args:
        template_name_or_list: a name below a template folder, or several, of which the first that
            exists is used.
        **context: the template's variables.

    Raises:
        jinja2.TemplateNotFound: none of the names exists; the message lists the folders.
    """
    app = _find_app()
    template = app.jinja_env.get_or_select_template(template_name_or_list)
    return _render(app, template, context)


def render_template_string(source: str, **context: t.Any) -> str:
    """Render a template that is given as text. Never pass text from clients, because a template can
    run code.

    Args:
        source: the template itself.
        **context: the template's variables.
    """
    app = _find_app()
    return _render(app, app.jinja_env.from_string(source), context)


def _stream(app: Carboy, template: Template, context: dict[str, t.Any]) -> Iterator[str]:
    # Adds the real `request` and `g` and not proxies, because the request may have ended when the
    # template is rendered.
    app.update_template_context(context)
    sent: dict[str, t.Any] = {
        "_async_wrapper": app.ensure_sync,
        "template": template,
        "context": context,
    }
    if before_render_template.receivers:
        before_render_template.send(app, **sent)

    def generate() -> Iterator[str]:
        yield from template.generate(context)
        if template_rendered.receivers:
            template_rendered.send(app, **sent)

    active = _cv.get(None)
    if active is None or active[1] is None:
        return generate()
    return stream_with_context(generate())


def stream_template(template_name_or_list: Names, **context: t.Any) -> Iterator[str]:
    """Render a template piece by piece, as a streamed response of a view.

    Args:
        template_name_or_list: as for `render_template`.
        **context: the template's variables.
    """
    app = _find_app()
    template = app.jinja_env.get_or_select_template(template_name_or_list)
    return _stream(app, template, context)


def stream_template_string(source: str, **context: t.Any) -> Iterator[str]:
    """Render a template given as text piece by piece, as `stream_template` does.

    Args:
        source: the template itself.
        **context: the template's variables.
    """
    app = _find_app()
    return _stream(app, app.jinja_env.from_string(source), context)


if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
