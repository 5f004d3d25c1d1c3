"""Find the application of a command.

The user names the application (`module`, `path/to/file.py`, `module:name`, `module:factory("x")`,
`path/to/file.wsgi`). Otherwise it is looked up in `wsgi.py` and `app.py` in the current folder. If
no application is found, a `NoAppException` says where it was looked up. Exceptions of the user's
code propagate, except for an `ImportError`, whose traceback is text in the message of a
`NoAppException`.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import types
import typing as t

import click
from click.core import ParameterSource

from ..core.advice import did_you_mean
from ..core.dispatch import Dispatcher
from ..helpers import get_debug_flag, get_load_dotenv

if t.TYPE_CHECKING:
    from ..app import Flask

APP_NAMES = ("app", "application")
FACTORY_NAMES = ("create_app", "make_app")
DEFAULT_FILES = ("wsgi.py", "app.py")
# How the names of files end that mod_wsgi and other WSGI servers are given.
WSGI_FILE = ".wsgi"


class NoAppException(click.UsageError):
    """The application cannot be found, or its factory does not return an application."""


def find_best_app(module: types.ModuleType) -> Flask:
    """Return the app of a module.

    The first of these that exists is returned: the attribute `app`, the attribute `application`,
    the only app of the module, the result of `create_app()` or `make_app()`.
    """
    for name in APP_NAMES:
        app = getattr(module, name, None)
        if is_app(app):
            return app

    apps = {name: value for name, value in vars(module).items() if is_app(value)}
    if len({id(app) for app in apps.values()}) > 1:
        first = next(iter(apps))
        raise NoAppException(
            f"Module {module.__name__!r} contains several applications:"
            f" {', '.join(map(repr, apps))}. Say which one, as in"
            f" '{module.__name__}:{first}'."
        )
    if apps:
        return next(iter(apps.values()))

    returned = ""
    for name in FACTORY_NAMES:
        factory = getattr(module, name, None)
        if isinstance(factory, types.FunctionType):
            app = _call_factory(module, name, factory, (), {})
            if is_app(app):
                return app
            returned += _return_hint(name, app)

    raise NoAppException(
        f"Module {module.__name__!r}{_at(module)} holds no application: nothing in it is a"
        f" Carboy, and no {' or '.join(FACTORY_NAMES)} returns one.{returned}"
        f"{_flask_hint(vars(module).values())} If it has another name, write"
        f" '{module.__name__}:name'."
    )


def find_app_by_string(module: types.ModuleType, app_name: str) -> Flask:
    """Return the app that `app_name` names in a module: an attribute, or the result of calling a
    function.

    `app_name` may contain a call whose arguments are literals: `create_app("testing", debug=True)`.
    """
    name, args, kwargs = _parse_name(app_name)
    try:
        value = getattr(module, name)
    except AttributeError:
        raise NoAppException(
            f"Module {module.__name__!r}{_at(module)} has nothing named {name!r}."
            f"{did_you_mean(name, _candidates(module), prefix=f'{module.__name__}:')}"
        ) from None

    returned = ""
    if isinstance(value, types.FunctionType):
        value = _call_factory(module, app_name, value, args, kwargs)
        returned = _return_hint(name, value)
    if is_app(value):
        return value

    raise NoAppException(
        f"'{module.__name__}:{app_name}' is not an application but {_describe(value)}"
        f"{_at(module)}.{returned}{_flask_hint([value])}{_middleware_hint(value)}"
        f"{did_you_mean(name, _candidates(module), prefix=f'{module.__name__}:')}"
    )


def prepare_import(path: str) -> str:
    """Convert a file's path or a module's name into the name to import, and make it importable.

    The parent folder of the outermost package is put at the front of `sys.path`.

    Raises:
        NoAppException: another module of this name is imported already.
    """
    path = os.path.realpath(path)
    stem, extension = os.path.splitext(path)
    if extension == ".py":
        path = stem
    if os.path.basename(path) == "__init__":
        path = os.path.dirname(path)

    folder, name = os.path.split(path)
    parts = [name]
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder, name = os.path.split(folder)
        parts.insert(0, name)

    module_name = ".".join(parts)
    _refuse_hidden(path, module_name)
    _put_first_on_path(folder)
    return module_name


def _put_first_on_path(folder: str) -> None:
    if sys.path[0] != folder:
        sys.path.insert(0, folder)


def _refuse_hidden(path: str, module_name: str) -> None:
    """Raise `NoAppException` if a file cannot be imported because a module of the same name, from
    another file, is imported already.
    """
    module = sys.modules.get(module_name)
    imported = os.path.realpath(getattr(module, "__file__", None) or "")
    files = (f"{path}.py", os.path.join(path, "__init__.py"))
    exists = any(os.path.isfile(file) for file in files)
    if module is not None and exists and imported not in files:
        raise NoAppException(
            f"The file {files[0]!r} cannot be imported, because the module {module_name!r} is"
            f" {imported!r} already. Rename the file."
        )


@t.overload
def locate_app(
    module_name: str, app_name: str | None, raise_if_not_found: t.Literal[True] = True
) -> Flask: ...


@t.overload
def locate_app(
    module_name: str, app_name: str | None, raise_if_not_found: t.Literal[False] = ...
) -> Flask | None: ...


def locate_app(
    module_name: str, app_name: str | None, raise_if_not_found: bool = True
) -> Flask | None:
    """Import a module and return its app.

    If the module does not exist, raises `NoAppException`; if `raise_if_not_found` is false, returns
    None instead.
    """
    try:
        __import__(module_name)
    except ImportError as exc:
        if exc.__traceback__ is not None and exc.__traceback__.tb_next is not None:
            # The module exists, but an import inside it failed.
            raise _failed_import(module_name, exc) from exc
        if not raise_if_not_found:
            return None
        raise NoAppException(_no_module(module_name, exc)) from None

    module = sys.modules[module_name]
    return find_best_app(module) if app_name is None else find_app_by_string(module, app_name)


def load_wsgi_file(path: str, app_name: str | None) -> Flask:
    """Run a file for mod_wsgi and other WSGI servers, and return its app: `application`, unless
    `app_name` names another object.

    The name of such a file need not be that of a module, and may be that of one that it imports:
    `app.wsgi` contains `from app import app as application`. So the file becomes a module under
    another name.

    Raises:
        NoAppException: the file does not exist or cannot be imported, or has no such app.
    """
    path = os.path.realpath(path)
    if not os.path.isfile(path):
        raise NoAppException(f"There is no file {path!r}.")
    module_name = "_wsgi_" + re.sub(r"\W", "_", os.path.basename(path))
    module = sys.modules[module_name] = types.ModuleType(module_name)
    module.__file__ = path
    _put_first_on_path(os.path.dirname(path))
    try:
        with open(path, "rb") as source:
            exec(compile(source.read(), path, "exec", dont_inherit=True), vars(module))  # noqa: S102 - the app's file
    except ImportError as exc:
        raise _failed_import(path, exc) from exc
    return find_app_by_string(module, app_name or "application")


def _failed_import(name: str, exc: ImportError) -> NoAppException:
    from .failures import format_for_user

    return NoAppException(
        f"While importing {name!r}, an ImportError was raised:"
        f"\n\n{format_for_user(exc)}{_missing_flask_hint(exc)}"
    )


class ScriptInfo:
    """The app that a command line is for: how to load it, and the loaded app.

    Attributes:
        app_import_path: the value of `--app`.
        create_app: creates the app; None if the app is imported.
        found_file: the one of `DEFAULT_FILES` in which the app was found, if none was
            named; "app.py" may stand for a package.
        data: values that a group of commands passes to its subcommands.
        load_dotenv_defaults: whether the group of commands reads `.env` and `.flaskenv`.
    """

    def __init__(
        self,
        app_import_path: str | None = None,
        create_app: t.Callable[..., Flask] | None = None,
        set_debug_flag: bool = True,
        load_dotenv_defaults: bool = True,
    ) -> None:
        self.app_import_path = app_import_path
        self.create_app = create_app
        self.found_file: str | None = None
        self.data: dict[t.Any, t.Any] = {}
        self.set_debug_flag = set_debug_flag
        self.load_dotenv_defaults = get_load_dotenv(load_dotenv_defaults)
        # The app before and after `load_app` has set its `debug`.
        self._found_app: Flask | None = None
        self._loaded_app: Flask | None = None
        self._failure: BaseException | None = None
        self._is_chosen = False

    def try_to_find_app(self) -> None:
        """Import or create the app. If that fails, the next call of `load_app` raises the exception
        of the app's code.
        """
        try:
            self._found_app = self._find_app()
        except (Exception, SystemExit) as exc:  # noqa: BLE001  # kept, and raised later
            self._failure = exc

    def load_app(self) -> Flask:
        """Return the app. The first call imports or creates it."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._loaded_app is None:
            if self._found_app is None:
                self._found_app = self._find_app()
            app = self._found_app
            # `from_project()` has taken the variables and `--debug` into account already.
            if self.set_debug_flag and not has_project(app):
                app.debug = get_debug_flag()
            self._loaded_app = app
        return self._loaded_app

    def choose_app(self, target: str | None) -> None:
        """Use the app that the argument MODULE:APP of a command, or its option `--app`, names. If
        there is neither (`target` is None), do nothing.

        Raises:
            NoAppException: another app is named as well, or the group of commands creates its own.
        """
        if target is None:
            return
        if self.create_app is not None:
            raise NoAppException(f"This command creates its own app, and takes no {target!r}.")
        group = click.get_current_context().find_root()
        by_option = group.get_parameter_source("app") is ParameterSource.COMMANDLINE
        if (by_option or self._is_chosen) and target != self.app_import_path:
            raise NoAppException(
                f"Two apps are named: {self.app_import_path!r} and {target!r}. Leave one of them"
                " out."
            )
        if target != self.app_import_path:
            self.app_import_path = target
            self._found_app = self._loaded_app = self._failure = None
        self._is_chosen = True

    def _find_app(self) -> Flask:
        if self.create_app is not None:
            return self.create_app()
        if self.app_import_path:
            path, name = split_import_path(self.app_import_path)
            if path.endswith(WSGI_FILE):
                return load_wsgi_file(path, name)
            return locate_app(prepare_import(path), name)
        for path in DEFAULT_FILES:
            app = locate_app(prepare_import(path), None, raise_if_not_found=False)
            if app is not None:
                self.found_file = path
                return app
        raise NoAppException(
            f"No application: neither {' nor '.join(DEFAULT_FILES)} is in {os.getcwd()!r}, and"
            " none was named. Write 'carboy --app module:name', or set the CARBOY_APP (or"
            " FLASK_APP) environment variable."
        )


pass_script_info = click.make_pass_decorator(ScriptInfo, ensure=True)


def _choose_app(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    ctx.ensure_object(ScriptInfo).choose_app(value)


# The option of the group, also after the name of a command that starts a server.
app_option = click.option(
    *("--app", "-A"),
    metavar="MODULE:APP",
    expose_value=False,
    callback=_choose_app,
    allow_from_autoenv=False,
    help="The same as the argument MODULE:APP.",
)


def is_app(value: object) -> t.TypeGuard[Flask]:
    """Return whether a value is an application. All application classes derive from
    `Dispatcher`.
    """
    return isinstance(value, Dispatcher)


def has_project(app: object) -> bool:
    """Return whether a value is an app whose configuration was loaded by `from_project()`."""
    return getattr(getattr(app, "config", None), "project", None) is not None


def split_import_path(import_path: str) -> tuple[str, str | None]:
    r"""Split `module:name` at the colon, but not at the colon after a drive letter, as in
    `C:\app.py`.
    """
    path, _, name = re.sub(r":(?![\\/])", "\0", import_path, count=1).partition("\0")
    return path, name or None


def _parse_name(app_name: str) -> tuple[str, list[t.Any], dict[str, t.Any]]:
    """Split `name` or `name(1, x=2)` into the name and the arguments."""
    try:
        expression = ast.parse(app_name.strip(), mode="eval").body
    except SyntaxError:
        expression = None
    if isinstance(expression, ast.Name):
        return expression.id, [], {}
    if not isinstance(expression, ast.Call):
        raise NoAppException(
            f"{app_name!r} is neither a name nor a call. Write 'module:name' or"
            " 'module:factory(\"argument\")'."
        )
    if not isinstance(expression.func, ast.Name):
        raise NoAppException(f"The function in {app_name!r} must be a plain name, without dots.")
    if any(each.arg is None for each in expression.keywords):
        raise NoAppException(
            f"The arguments in {app_name!r} must be written by their names, as in"
            f" '{expression.func.id}(name=\"value\")', without '**'."
        )
    try:
        args = [ast.literal_eval(arg) for arg in expression.args]
        kwargs = {kw.arg: ast.literal_eval(kw.value) for kw in expression.keywords if kw.arg}
    except ValueError:
        raise NoAppException(
            f"The arguments in {app_name!r} must be literals: strings, numbers, True, None, or"
            " lists and dicts of those."
        ) from None
    return expression.func.id, args, kwargs


def _call_factory(
    module: types.ModuleType,
    written: str,
    factory: types.FunctionType,
    args: t.Sequence[t.Any],
    kwargs: dict[str, t.Any],
) -> t.Any:
    from carboy.core.annotations import signature_of

    signature = signature_of(factory)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as exc:
        raise NoAppException(
            f"The factory '{module.__name__}:{factory.__name__}{signature}' cannot be called as"
            f" {written!r}: {exc}. Write its arguments, as in"
            f" '{module.__name__}:{factory.__name__}(\"...\")'."
        ) from None
    return factory(*args, **kwargs)


def _candidates(module: types.ModuleType) -> list[str]:
    """Return the names of a module's apps and factories, to suggest them in an error message."""
    return [
        name
        for name, value in vars(module).items()
        if is_app(value) or (isinstance(value, types.FunctionType) and name.endswith("_app"))
    ]


def _no_module(module_name: str, exc: ImportError) -> str:
    file = os.path.join(sys.path[0], module_name)
    if os.path.isfile(file):
        return (
            f"The file {file!r} cannot be imported, because its name ends neither in '.py' nor in"
            f" {WSGI_FILE!r}. Rename or copy it, such as to '{module_name.replace('.', '_')}.py'."
        )
    text = f"There is no module {module_name!r} in {sys.path[0]!r}, nor elsewhere on the path."
    folder, _, last = module_name.rpartition(".")
    parent = sys.modules.get(folder)
    if parent is not None and not hasattr(parent, "__path__"):
        return (
            f"{text} {folder!r}{_at(parent)} is not a package; write its members with a colon:"
            f" '{folder}:{last}'.{did_you_mean(last, _candidates(parent), prefix=f'{folder}:')}"
        )
    if exc.name and exc.name != module_name and module_name.startswith(f"{exc.name}."):
        text += f" (The package {exc.name!r} is missing too.)"
        folder, last = "", exc.name
    try:
        entries = os.listdir(os.path.join(sys.path[0], *folder.split(".")))
    except OSError:
        entries = []
    here = (entry.removesuffix(".py") for entry in entries if entry.endswith(".py"))
    near = did_you_mean(last, here, prefix=f"{folder}." if folder else "")
    return f"{text}{near}"


def _describe(value: t.Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__!r}"
    return f"{type(value).__name__} {value!r:.60}"


def _at(module: types.ModuleType) -> str:
    filename = getattr(module, "__file__", None)
    return f" ({filename})" if filename else ""


def _return_hint(name: str, returned: t.Any) -> str:
    if returned is not None:
        return ""
    return f" {name}() returned nothing: end it with 'return app'."


def _middleware_hint(value: object) -> str:
    """Return advice on middleware if a value may be middleware around an app: serving the app alone
    would leave out what the middleware does.
    """
    if isinstance(value, type) or not callable(value):
        return ""
    return " Middleware is part of an app if you write 'app.wsgi_app = Middleware(app.wsgi_app)'."


def _missing_flask_hint(exc: ImportError) -> str:
    if (exc.name or "").partition(".")[0] != "flask":
        return ""
    return (
        "\nThis program was written for Flask. Run it unchanged with 'carboy --as-flask ...',"
        " or write 'from carboy import ...' in it."
    )


def _flask_hint(values: t.Iterable[t.Any]) -> str:
    for value in list(values):
        for base in type(value).__mro__:
            if base.__module__ == "flask.app":
                return (
                    " It contains an application of Flask's own class; with"
                    " 'carboy --as-flask' the same file runs on carboy."
                )
    return ""
