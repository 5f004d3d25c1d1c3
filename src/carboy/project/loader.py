"""Load the configuration of a project into the config of an app."""

from __future__ import annotations

import os
import typing as t

from ..config import get_env
from . import Project
from .keys import make_key_when_read

if t.TYPE_CHECKING:
    from ..config import Config


def load_project(config: Config, environment: str | None) -> None:
    root = os.path.abspath(config.root_path)
    origins = config._origins if config._origins is not None else {}
    config._origins = origins
    name = environment or get_env()
    config.project = Project(root, os.path.join(root, "instance"), name, origins)
    make_key_when_read(config)
