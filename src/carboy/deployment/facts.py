"""What an app says about itself, for the files of its deployment."""

from __future__ import annotations

import os
import re
import sys
import typing as t
from dataclasses import dataclass
from functools import cached_property

from ..cli.discovery import DEFAULT_FILES, FACTORY_NAMES, prepare_import, split_import_path

if t.TYPE_CHECKING:
    from ..app import Carboy
    from ..serving.settings import Settings

# The files that may say which packages a project needs, the most exact ones first.
_REQUIREMENTS = ("requirements.lock", "requirements.txt", "pyproject.toml")


class StaticFolder(t.NamedTuple):
    """A folder whose files the app serves: a static folder of the app or of a blueprint."""

    url: str  # the path that the URLs of the files begin with, such as /static/
    folder: str  # an absolute path


class ImportedApp(t.NamedTuple):
    """How another program imports the app."""

    folder: str  # the folder that must be on `sys.path`, an absolute path
    module: str
    expression: str  # "app", or "create_app()"; evaluated in the module

    @property
    def target(self) -> str:
        """The app as gunicorn and others are told it: "module:expression"."""
        return f"{self.module}:{self.expression}"


@dataclass(frozen=True)
class Facts:
    """An app and its project.

    Attributes:
        app: the loaded app.
        target: the app as the command was told it, such as "shop.py" or "shop:app", relative to
            `root`; None if the command has found it.
        root: the project's folder, an absolute path: the current folder of the command.
        settings: the settings of `carboy serve`, by the environment and by defaults.
    """

    app: Carboy
    target: str | None
    root: str
    settings: Settings

    @cached_property
    def name(self) -> str:
        """A name for services, images and hosts, made from the name of the project's folder: a DNS
        label (RFC 1123), 1 to 63 lower-case letters, digits and hyphens.
        """
        words = re.sub(r"[^a-z0-9]+", "-", os.path.basename(self.root).lower()).strip("-")
        return words[:63].strip("-") or "app"

    @cached_property
    def imported(self) -> ImportedApp:
        path, expression = split_import_path(self.target or self._found_file)
        module = prepare_import(path)
        return ImportedApp(sys.path[0], module, expression or self._expression(module))

    @property
    def _found_file(self) -> str:
        files = (os.path.join(self.root, name) for name in DEFAULT_FILES)
        return next(filter(os.path.isfile, files))

    def _expression(self, module_name: str) -> str:
        module = sys.modules[module_name]
        names = [name for name, value in vars(module).items() if value is self.app]
        if names:
            return names[0]
        return next(f"{name}()" for name in FACTORY_NAMES if hasattr(module, name))

    @property
    def python_version(self) -> str:
        """The version of this Python, such as "3.11"."""
        return "{}.{}".format(*sys.version_info)

    @cached_property
    def requirements(self) -> str | None:
        """The file of the project that says which packages it needs, relative to `root`."""
        files = (name for name in _REQUIREMENTS if os.path.isfile(os.path.join(self.root, name)))
        return next(files, None)

    @cached_property
    def static_folders(self) -> list[StaticFolder]:
        """The existing static folders, except those of blueprints with a host or subdomain."""
        owners = {"static": self.app, **{f"{n}.static": b for n, b in self.app.blueprints.items()}}
        return [
            StaticFolder(rule.rule.removesuffix("<path:filename>"), owner.static_folder)
            for rule in self.app.url_map.iter_rules()
            if (owner := owners.get(rule.endpoint)) is not None
            if not rule.host and not rule.subdomain
            if owner.static_folder and os.path.isdir(owner.static_folder)
        ]

    @property
    def written_folders(self) -> list[str]:
        """The folders, as absolute paths, in which the app is known to write: those of `LOG_FILE`
        and `UPLOAD_FOLDER`, and the instance folder, if it exists.
        """
        from ..observability.logoptions import read_options

        log = read_options(self.app)
        uploads = self.app.config.get("UPLOAD_FOLDER")
        found = [
            os.path.dirname(log.file) if log is not None and log.file else "",
            os.path.join(self.root, uploads) if uploads else "",
            self.app.instance_path if os.path.isdir(self.app.instance_path) else "",
        ]
        return sorted(set(filter(None, found)))

    @property
    def body_limit(self) -> int | None:
        """The largest body, in bytes, that the app takes in any request; None if there is no limit:
        the limit of the server or of the app's MAX_CONTENT_LENGTH, whichever is smaller.
        """
        limits = (self.settings.max_body_bytes, self.app.config["MAX_CONTENT_LENGTH"])
        return min((limit for limit in limits if limit), default=None)
