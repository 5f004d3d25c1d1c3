"""The configuration of an app: a dict with defaults, into which files, objects and environment
variables are loaded.

Keys are upper case; lower-case names in files and objects are not loaded. Values that look like
secrets are hidden when the config is printed (`carboy.core.masking`).
"""

from __future__ import annotations

import copy
import errno
import json
import os
import re
import types
import typing as t
from datetime import timedelta
from functools import wraps

from werkzeug.datastructures import ImmutableDict
from werkzeug.utils import import_string

from .core.changetracking import note_change
from .core.masking import masked, note_secret_change, watch, watch_failed_file
from .errors import ConfigFileError, ConfigSourceError, ProjectError

if t.TYPE_CHECKING:
    import typing_extensions as te

    from .project import Project
    from .project.origins import Origin
    from .sansio.app import App

T = t.TypeVar("T")


class _Absent:
    """The default of a key that no config contains unless somebody sets it."""

    def __repr__(self) -> str:
        return "not set"


ABSENT: t.Final = _Absent()


class ConfigKey(t.NamedTuple):
    """A config key that Flask does not have: its default, a text for the table in the
    documentation, and the type that `from_project` and `carboy config --check` require.

    `check` is the import name of a function that `from_project` calls with the key, its value and
    where the value comes from. It raises `ConfigError` for a value that is not valid.
    """

    default: t.Any
    help: str
    type: t.Any = t.Any
    check: str = ""


_CHECK_OF_LOG: t.Final = "carboy.observability.logoptions:check_value"
_CHECK_OF_PATHS: t.Final = "carboy.openapi.ui:check_path"
_CHECK_OF_BROWSERS: t.Final = "carboy.access.browserrules:check_value"
_CHECK_OF_KEYS: t.Final = "carboy.access.keystore:check_value"
_CHECK_OF_RATE: t.Final = "carboy.access.accessdeclaration:check_value"


OWN_KEYS: t.Mapping[str, ConfigKey] = {
    "TYPED_VIEWS": ConfigKey(
        True, "whether annotations of a view bind its parameters; read at registration", bool
    ),
    "JSON_NAN": ConfigKey(
        None,
        "NaN and infinity in the JSON that Flask's rules make (returned dicts and lists,"
        ' `jsonify`): `"null"`, `"error"` (500), or `"literal"` (`NaN`, which is no JSON); `None`:'
        ' `"null"`, and `"literal"` under `--as-flask`',
        t.Literal["null", "error", "literal"] | None,
    ),
    # The default is a compromise. It must allow photographs from phones (3 to 8 MB), but JSON of
    # this size takes up to 1 GB of memory when decoded.
    "MODEL_MAX_BODY": ConfigKey(
        32 * 1024 * 1024,
        "bytes of the largest body of a prediction, for models without `max_body_bytes=`; while"
        " this key has its default, `MAX_CONTENT_LENGTH` takes precedence if it is set",
        int | None,
    ),
    "MODEL_PAGES": ConfigKey(
        True, "`False`: no page to try a model; GET returns the metadata", bool
    ),
    # Absent, so that a program that knows nothing of it finds no new key.
    "MODEL_PROTOCOLS": ConfigKey(
        ABSENT,
        'the protocols by which clients can call models, beside plain JSON: `["v2"]` for the Open'
        ' Inference Protocol; also `"kserve"`, `"mlflow"`, `"openai"`, `"sagemaker"`; in the'
        " environment with commas",
        list[t.Literal["v2", "kserve", "mlflow", "openai", "sagemaker"]],
    ),
    "MODEL_DEFAULT": ConfigKey(
        ABSENT,
        "the name of the model that protocols with one URL for predictions (MLflow, OpenAI,"
        " SageMaker, Vertex AI) serve; without it, the only model",
        str,
    ),
    "MODEL_REPOSITORY_CONTROL": ConfigKey(
        ABSENT,
        "`True`: clients of the Open Inference Protocol may load and unload models",
        bool,
    ),
    "OPENAPI_ENABLED": ConfigKey(
        None,
        "`True`: always, also where a rule with a variable matches; `False`: never; `None`: if"
        " there are typed views or models",
        bool | None,
    ),
    "OPENAPI_JSON_PATH": ConfigKey(
        "/openapi.json", "URL of the document; `None` disables it and the two pages", str | None
    ),
    "OPENAPI_YAML_PATH": ConfigKey(
        "/openapi.yaml", "URL of the document; `None` disables it", str | None, _CHECK_OF_PATHS
    ),
    "OPENAPI_DOCS_PATH": ConfigKey(
        "/docs", "URL of Swagger UI; `None` disables it", str | None, _CHECK_OF_PATHS
    ),
    "OPENAPI_REDOC_PATH": ConfigKey("/redoc", "URL of ReDoc; `None` disables it", str | None),
    # Absent, as ACCESS_DEFAULT.
    "OPENAPI_ACCESS": ConfigKey(
        ABSENT,
        '`"key"`: the document and its pages need an API key; `"open"`: they need none, whatever'
        " `ACCESS_DEFAULT` says",
        t.Literal["key", "open"],
    ),
    "OPENAPI_INFO": ConfigKey(
        None,
        "`title`, `version`, `description`, `contact`, `license`, ... of the document",
        dict[str, t.Any] | None,
    ),
    "OPENAPI_TEMPLATE": ConfigKey(
        None,
        "the top of the document (`servers`, `tags`, `components`, `x-...`) as a dict, or the name"
        " of a YAML file beside the app; Swagger 2 or OpenAPI 3",
        dict[str, t.Any] | str | None,
    ),
    "OPENAPI_SECURITY_SCHEMES": ConfigKey(
        None,
        'by name: `{"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}`',
        dict[str, t.Any] | None,
    ),
    "OPENAPI_SECURITY": ConfigKey(
        None,
        "names of the schemes for every operation; `@operation(security=[])` makes one operation"
        " public",
        list[t.Any] | None,
    ),
    "OPENAPI_ALL_MEDIA_TYPES": ConfigKey(False, "list each media type of a body", bool),
    # Absent, so that a program that knows nothing of it finds no new key.
    "STATIC_DOTFILES": ConfigKey(
        ABSENT,
        "`True`: the app sends static files whose path has a part that begins with a dot, such as"
        " `.git/config`; without it they are answered with 404, except those in `.well-known`",
        bool,
    ),
    # Programs use keys of these names for their own code, as in `config.get("LOG_LEVEL", "INFO")`.
    # So the config does not contain them unless they are set.
    "LOG_LEVEL": ConfigKey(
        ABSENT,
        "the level of the root logger, such as `INFO`; without it, `INFO` if another of these keys"
        " is set and the program has not configured the root logger itself",
        int | str | None,
        _CHECK_OF_LOG,
    ),
    "LOG_FILE": ConfigKey(
        ABSENT,
        "the file for the records of all loggers, relative to the project's folder or else to the"
        " current one; without it, stderr",
        str | None,
        _CHECK_OF_LOG,
    ),
    "LOG_FORMAT": ConfigKey(
        ABSENT,
        "`text`, `json`, or a format of `logging` such as `%(asctime)s :: %(levelname)s ::"
        " %(message)s`; without it, `text`",
        str | None,
        _CHECK_OF_LOG,
    ),
    "LOG_MAX_BYTES": ConfigKey(
        ABSENT,
        "the size, such as `10M`, at which the file is renamed to `app.log.1` and a new one begins;"
        " 0 for never; without it, 10M",
        int | str | None,
        _CHECK_OF_LOG,
    ),
    "LOG_BACKUP_COUNT": ConfigKey(
        ABSENT,
        "how many renamed files are kept, at least 1; without it, 5",
        int | None,
        _CHECK_OF_LOG,
    ),
    "LOG_LEVELS": ConfigKey(
        ABSENT,
        'levels of single loggers: `{"sqlalchemy.engine": "WARNING"}`; in the environment'
        " `sqlalchemy.engine=WARNING,shop=DEBUG`",
        dict[str, t.Any] | str | None,
        _CHECK_OF_LOG,
    ),
    "PROTECT_LOCALHOST": ConfigKey(
        True,
        "`False`: pages of other sites may post to a server on this machine, and reach it by their"
        " own host names (DNS rebinding)",
        bool,
    ),
    "CORS_POLICY": ConfigKey(
        ABSENT,
        "the sites whose pages may use the app (CORS), for URLs without `cors=`: an origin such as"
        ' `"https://shop.example"`, a list of origins, `"*"`, or a dict with options; in the'
        " environment with commas",
        list[str] | dict[str, t.Any] | str | bool | None,
        _CHECK_OF_BROWSERS,
    ),
    "STRICT_HEADERS": ConfigKey(
        ABSENT,
        "`True`: a strict Content-Security-Policy and further headers on every response; or a dict"
        " of those that differ",
        dict[str, t.Any] | bool | None,
        _CHECK_OF_BROWSERS,
    ),
    # Absent, so that a program that knows nothing of it finds no new key.
    # Absent, as the next one, so that a program that knows nothing of them finds no new key.
    "ACCESS_KEYS": ConfigKey(
        ABSENT,
        "API keys: a list of what `carboy keys new --print` prints; in the environment JSON, or"
        " `NAME=KEY` with commas; also read from `CARBOY_ACCESS_KEYS` without `from_project()`",
        list[t.Any] | str,
        _CHECK_OF_KEYS,
    ),
    "ACCESS_KEYS_FILE": ConfigKey(
        ABSENT,
        "the file of `carboy keys`, relative to the folder of the app; without it,"
        " `access-keys.json` in the instance folder",
        str,
    ),
    "ACCESS_DEFAULT": ConfigKey(
        ABSENT,
        '`"key"`: every route needs an API key, unless it or its blueprint declares another'
        ' `access=`; `"open"`: none does, also no model; without it, models do as soon as there are'
        " keys",
        t.Literal["key", "open"],
    ),
    "ACCESS_PROBES": ConfigKey(
        ABSENT,
        '`"key"`: the health URLs of the protocols of models need an API key, too; without it, or'
        ' with `"open"`, they need none',
        t.Literal["key", "open"],
    ),
    "ACCESS_RATE": ConfigKey(
        ABSENT,
        "how often a client may send requests to all routes together that declare no `rate=`, such"
        ' as `"100/minute"` or `["10/second by address", "5000/day"]`; static files and health URLs'
        " do not count",
        list[str] | str,
        _CHECK_OF_RATE,
    ),
    "CHECK_SILENCED": ConfigKey(
        ABSENT,
        'the codes that `carboy check` does not report, such as `["carboy.W001"]`; in the'
        " environment with commas",
        list[str],
    ),
}
OWN_DEFAULTS: t.Mapping[str, t.Any] = {
    name: key.default for name, key in OWN_KEYS.items() if key.default is not ABSENT
}

DEFAULT_CONFIG: t.Mapping[str, t.Any] = ImmutableDict({
    "DEBUG": None,
    "TESTING": False,
    "PROPAGATE_EXCEPTIONS": None,
    "SECRET_KEY": None,  # nosec B105 - None is no key
    "SECRET_KEY_FALLBACKS": None,  # nosec B105 - None is no key
    "PERMANENT_SESSION_LIFETIME": timedelta(days=31),
    "USE_X_SENDFILE": False,
    "TRUSTED_HOSTS": None,
    "SERVER_NAME": None,
    "APPLICATION_ROOT": "/",
    "SESSION_COOKIE_NAME": "session",
    "SESSION_COOKIE_DOMAIN": None,
    "SESSION_COOKIE_PATH": None,
    "SESSION_COOKIE_HTTPONLY": True,
    "SESSION_COOKIE_SECURE": False,
    "SESSION_COOKIE_PARTITIONED": False,
    "SESSION_COOKIE_SAMESITE": None,
    "SESSION_REFRESH_EACH_REQUEST": True,
    "MAX_CONTENT_LENGTH": None,
    "MAX_FORM_MEMORY_SIZE": 500_000,
    "MAX_FORM_PARTS": 1_000,
    "SEND_FILE_MAX_AGE_DEFAULT": None,
    "TRAP_BAD_REQUEST_ERRORS": None,
    "TRAP_HTTP_EXCEPTIONS": False,
    "EXPLAIN_TEMPLATE_LOADING": False,
    "PREFERRED_URL_SCHEME": "http",
    "TEMPLATES_AUTO_RELOAD": None,
    "MAX_COOKIE_SIZE": 4093,
    "PROVIDE_AUTOMATIC_OPTIONS": True,
    # Keys of Flask 2 that Flask 3 has removed and carboy keeps. ENV is set from the environment
    # when the app is created.
    "ENV": None,
    "JSON_AS_ASCII": True,
    "JSON_SORT_KEYS": True,
    "JSONIFY_PRETTYPRINT_REGULAR": False,
    "JSONIFY_MIMETYPE": "application/json",
    "PRESERVE_CONTEXT_ON_EXCEPTION": None,
    **OWN_DEFAULTS,
})  # fmt: skip


def get_env() -> str:
    """Return the name of the environment: CARBOY_ENV, else FLASK_ENV, else "production"."""
    return os.environ.get("CARBOY_ENV") or os.environ.get("FLASK_ENV") or "production"


class ConfigAttribute(t.Generic[T]):
    """A descriptor for an attribute of the app that reads and writes a config key.

    `get_converter`, if given, converts the value when it is read.
    """

    def __init__(self, name: str, get_converter: t.Callable[[t.Any], T] | None = None) -> None:
        self.__name__ = name
        self.get_converter = get_converter

    @t.overload
    def __get__(self, obj: None, owner: None) -> te.Self: ...

    @t.overload
    def __get__(self, obj: App, owner: type[App]) -> T: ...

    def __get__(self, obj: App | None, owner: type[App] | None = None) -> T | te.Self:
        if obj is None:
            return self
        value = obj.config[self.__name__]
        if self.get_converter is None:
            return value  # type: ignore[no-any-return]
        return self.get_converter(value)

    def __set__(self, obj: App, value: t.Any) -> None:
        obj.config[self.__name__] = value


#: Config keys whose values are cached between requests: by `carboy.core.overrides`, sessions and
#: the JSON provider. Each assignment to one of these keys calls `note_change`, which makes the
#: caches invalid.
KEPT_KEYS = frozenset(
    {
        *("DEBUG", "TRUSTED_HOSTS", "SERVER_NAME", "SESSION_COOKIE_NAME"),
        *("CORS_POLICY", "PROTECT_LOCALHOST", "STRICT_HEADERS"),
        *("SECRET_KEY", "SECRET_KEY_FALLBACKS", "PERMANENT_SESSION_LIFETIME"),
        *("JSON_AS_ASCII", "JSON_NAN", "JSON_SORT_KEYS"),
        *("JSONIFY_MIMETYPE", "JSONIFY_PRETTYPRINT_REGULAR"),
        *("ACCESS_DEFAULT", "ACCESS_KEYS", "ACCESS_KEYS_FILE", "ACCESS_PROBES", "ACCESS_RATE"),
    }
)


class Config(dict[str, t.Any]):
    """A dict of config keys, which can be loaded from files, objects and environment variables.

    If the config is printed, values that look like secrets appear as `********`.

    Args:
        root_path: the folder of relative file names; the app passes its own root path.
        defaults: the initial keys.
    """

    #: What `from_project` has found; None if it was not called.
    project: Project | None = None
    # The origins of values by key; None while nobody asks for them. Keys with defaults are missing.
    _origins: dict[str, Origin] | None = None
    # Whether new configs record the lines that assign values. `carboy config` sets it while it
    # loads the app; otherwise recording begins with `from_project`.
    _records_origins: t.ClassVar[bool] = False
    # The app's `import_name`, `root_path` and `instance_path`; the app sets them.
    _place: tuple[str, str, str] | None = None

    def __init__(
        self, root_path: str | os.PathLike[str], defaults: dict[str, t.Any] | None = None
    ) -> None:
        super().__init__(defaults or {})
        self.root_path = root_path
        watch(self)
        if self._records_origins:
            self._origins = {}

    def __setitem__(self, key: str, value: t.Any) -> None:
        super().__setitem__(key, value)
        note_secret_change()
        if key in KEPT_KEYS:
            note_change()
        if self._origins is not None:
            from .project.origins import note_assignments

            note_assignments(self._origins, (key,))

    def from_project(
        self, root: str | os.PathLike[str] | None = None, *, environment: str | None = None
    ) -> None:
        """Load the project's configuration: files, `.env` and environment variables.

        Later ones take precedence: `config.py`, `config.toml` and `config.json`; their section, or
        the file, for the environment; the same files in the instance folder; `.env`; environment
        variables `CARBOY_X` and `FLASK_X`; options of the command line. Values that code assigns
        afterwards take precedence over all of them. `carboy config` prints each value with its
        origin. Details: docs/howto/configuration.md.

        Args:
            root: the project's folder; by default the one that contains the app's module or
                package.
            environment: the name of the environment; by default that of `CARBOY_ENV` or
                `FLASK_ENV`, else "production".
        Raises:
            ConfigError: a value or file cannot be used; nothing has been loaded then. A program
                that does not catch the error ends with exit code 2 and the text of the error.
        """
        from .project.loader import load_project
        from .project.uncaught import end_without_traceback

        try:
            load_project(self, None if root is None else os.fspath(root), environment)
        except ProjectError:
            end_without_traceback()
            raise

    def from_envvar(self, variable_name: str, silent: bool = False) -> bool:
        """Load the Python file whose name is in an environment variable.

        With `silent`, a variable that is not set, or a missing file, is not an error.

        Returns:
            Whether a file was loaded.
        """
        filename = os.environ.get(variable_name)
        if filename:
            return self.from_pyfile(filename, silent=silent)
        if silent:
            return False
        raise ConfigSourceError(
            f"The environment variable {variable_name!r} is not set, so there is no configuration"
            f" file to load. Set it to the file's path: {variable_name}=/path/to/config.py"
        )

    def from_prefixed_env(
        self, prefix: str = "FLASK", *, loads: t.Callable[[str], t.Any] = json.loads
    ) -> bool:
        """Load all environment variables that start with `prefix` and an underscore.

        `FLASK_DEBUG=true` sets `DEBUG`. Values are parsed as JSON; a value that is not JSON stays
        text. Two underscores name a key of a dict: `FLASK_DB__HOST=a` sets `config["DB"]["HOST"]`,
        and creates the dict if necessary.

        Args:
            prefix: without its underscore.
            loads: parses a value; if it raises an exception, the value is the text itself.
        """
        for name in sorted(os.environ):
            if not name.startswith(f"{prefix}_"):
                continue
            value = os.environ[name]
            try:
                value = loads(value)
            except Exception:  # noqa: BLE001, S110 - plain text is valid too
                pass
            *outer, key = name.removeprefix(f"{prefix}_").split("__")
            target: dict[str, t.Any] = self
            for part in outer:
                target = target.setdefault(part, {})
            target[key] = value
        return True

    def from_pyfile(self, filename: str | os.PathLike[str], silent: bool = False) -> bool:
        """Run a Python file, and load its upper-case names as config keys.

        With `silent`, a missing file is not an error. Return whether the file was loaded.

        Raises:
            OSError: the file cannot be read.
            ConfigFileError: the file is not valid Python; the error is also a `SyntaxError`.
        """
        filename = os.path.join(self.root_path, filename)
        module = types.ModuleType("config")
        module.__file__ = filename
        try:
            with open(filename, mode="rb") as file:
                source = file.read()
        except OSError as exc:
            if silent and exc.errno in {errno.ENOENT, errno.EISDIR, errno.ENOTDIR}:
                return False
            raise _unreadable(exc, filename) from None
        try:
            # As in Flask, the file inherits `from __future__ import annotations` from this module.
            # So its annotations, which may name what only a type checker imports, are not run.
            code = compile(source, filename, "exec")
        # Before Python 3.12, compiling a file with a null byte raises ValueError.
        except (SyntaxError, ValueError) as exc:
            raise _file_error(
                exc, filename, "is not valid Python. Correct it; a setting is written NAME = value."
            ) from exc
        try:
            exec(code, module.__dict__)  # noqa: S102 - a file that the app's author names
        except Exception as exc:
            watch_failed_file(filename, exc)
            exc.add_note(_where_raised(exc, filename))
            raise
        self.from_object(module)
        return True

    def from_object(self, obj: object | str) -> None:
        """Load the upper-case attributes of an object, which usually is a class or a module.

        A string is the import name of the object. To load a dict, use `from_mapping`.
        """
        if isinstance(obj, str):
            obj = import_string(obj)
        for key in dir(obj):
            if key.isupper():
                self[key] = getattr(obj, key)

    def from_file(
        self,
        filename: str | os.PathLike[str],
        load: t.Callable[[t.IO[t.Any]], t.Mapping[str, t.Any]],
        silent: bool = False,
        text: bool = True,
    ) -> bool:
        """Load config keys from a data file: `from_file("config.toml", load=tomllib.load,
        text=False)`.

        Text is read as UTF-8, the encoding of JSON, TOML and YAML.

        Args:
            filename: relative to `root_path`, or absolute.
            load: takes the open file and returns a mapping, such as `json.load`.
            silent: a missing file is not an error.
            text: whether the file is opened as text; `tomllib.load` needs bytes.

        Returns:
            Whether the file was loaded.

        Raises:
            OSError: the file cannot be read.
            ConfigFileError: `load` failed, in which case the error is also an instance of the
                original error's class, or `load` did not return a mapping.
        """
        filename = os.path.join(self.root_path, filename)
        try:
            with open(filename, "r" if text else "rb", encoding="utf-8" if text else None) as file:
                loaded = load(file)
        except OSError as exc:
            if silent and exc.errno in {errno.ENOENT, errno.EISDIR}:
                return False
            raise _unreadable(exc, filename) from None
        except Exception as exc:
            remedy = "Correct it, or pass the loader of its format."
            if text and isinstance(exc, TypeError):
                remedy = "If the loader needs bytes, as tomllib.load does, pass text=False."
            advice = f"cannot be loaded by {_name_of(load)}. {remedy}"
            raise _file_error(exc, filename, advice) from exc
        try:
            return self.from_mapping(loaded)
        except (TypeError, ValueError, AttributeError) as exc:
            advice = (
                f"holds {_name_of(type(loaded))} where a mapping of names to values is expected."
                ' Write, in JSON, {"NAME": value}.'
            )
            raise _file_error(exc, filename, advice) from exc

    def from_mapping(self, mapping: t.Mapping[str, t.Any] | None = None, **kwargs: t.Any) -> bool:
        """Load the upper-case keys of a mapping or a list of pairs, and of keyword arguments."""
        given: dict[str, t.Any] = {}
        if mapping is not None:
            given.update(mapping)
        given.update(kwargs)
        for key, value in given.items():
            if key.isupper():
                self[key] = value
        return True

    def get_namespace(
        self, namespace: str, lowercase: bool = True, trim_namespace: bool = True
    ) -> dict[str, t.Any]:
        """Return the keys that start with `namespace`, for use as keyword arguments.

        If `STORE_PATH` and `STORE_TYPE` are set, the result of `get_namespace("STORE_")` has the
        keys `path` and `type`.
        """
        start = len(namespace) if trim_namespace else 0
        found = {}
        for key, value in self.items():
            if key.startswith(namespace):
                name = key[start:]
                found[name.lower() if lowercase else name] = value
        return found

    def copy(self) -> te.Self:
        """Return a shallow copy that hides secrets when it is printed, as the config does."""
        return copy.copy(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {masked(self)!r}>"


def _count_changes_by(name: str) -> None:
    """Replace a method of `Config` by one that also calls `note_change`.

    It is used for methods such as `update`, which change keys without calling `__setitem__`.
    """
    change = getattr(dict, name)

    @wraps(change)
    def change_and_count(self: Config, *args: t.Any, **kwargs: t.Any) -> t.Any:
        before = None if self._origins is None else dict(self)
        try:
            return change(self, *args, **kwargs)
        finally:
            note_secret_change()
            note_change()
            if before is not None and self._origins is not None:
                from .project.origins import note_differences

                note_differences(self._origins, before, self)

    setattr(Config, name, change_and_count)


_CHANGING = ("__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update")
for _name in _CHANGING:
    _count_changes_by(_name)


def are_changes_counted(config: object) -> bool:
    """Return whether `note_change` is called for all changes of `config`, so that values may be
    cached.

    The result is False if the class overrides a method that reads or changes keys, because it may
    then compute the values or get them from elsewhere.
    """
    kind = type(config)
    return issubclass(kind, Config) and all(
        getattr(kind, name) is getattr(Config, name)
        for name in ("__getitem__", "__setitem__", *_CHANGING)
    )


def _unreadable(exc: OSError, filename: str) -> OSError:
    """Return the error for a config file that cannot be opened, with Flask's message and added
    advice.
    """
    exc.strerror = f"Unable to load configuration file ({exc.strerror})"
    exc.add_note(
        f"Asked for {filename!r}. A relative name starts at the app's root path (or its instance"
        " path, with instance_relative_config=True). Create the file, correct the name, or pass"
        " silent=True if the app can do without it."
    )
    return exc


def _where_raised(exc: Exception, filename: str) -> str:
    line: int | None = None
    traceback = exc.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == filename:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    place = filename if line is None else f"{filename}:{line}"
    return f"Raised by the configuration file {place}, which is run as Python. Correct it there."


def _file_error(exc: Exception, filename: str, advice: str) -> Exception:
    """Return a `ConfigFileError` that is also an instance of the class of `exc`."""
    line = _line_of(exc)
    place = filename if line is None else f"{filename}:{line}"
    message = f"The configuration file {place} {advice} ({type(exc).__name__}: {exc})"
    try:
        combined = _combine_classes(type(exc))
        error = combined.__new__(combined, *exc.args)
        error.__dict__.update(exc.__dict__)
    except TypeError:  # no class can derive from both, or its constructor needs other arguments
        exc.add_note(message)
        return exc
    # Copy the fields of a SyntaxError or a UnicodeError one by one. They are not in `__dict__`,
    # because the constructor sets them.
    if isinstance(exc, (SyntaxError, UnicodeError)):
        t.cast("t.Any", type(exc)).__init__(error, *exc.args)
    if isinstance(error, SyntaxError):
        error.msg = message
    error.filename, error.line = filename, line
    error._message = message  # type: ignore[attr-defined]
    return error


def _combine_classes(kind: type[Exception]) -> type[ConfigFileError]:
    namespace = {"__str__": lambda self: self._message, "__module__": ConfigFileError.__module__}
    return type("ConfigFileError", (ConfigFileError, kind), namespace)


def _line_of(exc: Exception) -> int | None:
    for holder in (exc, getattr(exc, "problem_mark", None)):
        if isinstance(line := getattr(holder, "lineno", None), int):
            return line
        if holder is not exc and isinstance(line := getattr(holder, "line", None), int):
            return line + 1  # PyYAML counts lines from 0
    found = re.search(r"\bline (\d+)", str(exc))
    return int(found[1]) if found else None


def _name_of(thing: t.Any) -> str:
    return str(getattr(thing, "__qualname__", None) or repr(thing))
