"""Load the app that a command line names, and collect its facts."""

from __future__ import annotations

import os
import typing as t

from ..cli.configuration import load_with_origins
from ..cli.discovery import NoAppException
from ..core.masking import mask_text
from ..errors import DeploymentError, ServingError
from .facts import Facts

if t.TYPE_CHECKING:
    from ..app import Carboy
    from ..cli.discovery import ScriptInfo


def collect_facts(info: ScriptInfo) -> Facts:
    """Load the app of a command line, and return what is known of it.

    Raises:
        DeploymentError: the app is not found or cannot be imported, or a setting of the server is
            not valid.
    """
    from ..serving.settings import make_settings

    target = info.app_import_path
    if target and not target.isprintable():
        raise DeploymentError(
            f"{target!r}: generated files cannot name an app whose path has a line break. Rename"
            " it."
        )
    app = _load(info)
    try:
        settings = make_settings({})
    except ServingError as exc:
        raise DeploymentError(str(exc)) from exc
    return Facts(app, target, os.getcwd(), settings, info.found_file)


def _load(info: ScriptInfo) -> Carboy:
    failure: BaseException
    try:
        return load_with_origins(info)
    except NoAppException as exc:
        if exc.__cause__ is None:
            raise DeploymentError(exc.message) from None
        failure = exc.__cause__
    # A program may end at its import, by sys.exit("Set DATABASE_URL.").
    except (Exception, SystemExit) as exc:  # noqa: BLE001
        failure = exc
    reason = " ".join(mask_text(f"{type(failure).__name__}: {failure}").split())
    raise DeploymentError(
        f"The app cannot be imported: {reason}. 'carboy routes' shows the traceback."
    ) from failure
