"""carboy: Flask's API on a fast core, typed views, and machine-learning models as endpoints."""

from __future__ import annotations

import sys
import typing as t

from . import json as json
from .app import Carboy as Carboy
from .app import Flask as Flask
from .blueprints import Blueprint as Blueprint
from .config import Config as Config
from .ctx import after_this_request as after_this_request
from .ctx import copy_current_request_context as copy_current_request_context
from .ctx import has_app_context as has_app_context
from .ctx import has_request_context as has_request_context
from .globals import current_app as current_app
from .globals import g as g
from .globals import request as request
from .globals import session as session
from .helpers import abort as abort
from .helpers import flash as flash
from .helpers import get_flashed_messages as get_flashed_messages
from .helpers import get_template_attribute as get_template_attribute
from .helpers import make_response as make_response
from .helpers import redirect as redirect
from .helpers import send_file as send_file
from .helpers import send_from_directory as send_from_directory
from .helpers import stream_with_context as stream_with_context
from .helpers import url_for as url_for
from .json import jsonify as jsonify
from .signals import appcontext_popped as appcontext_popped
from .signals import appcontext_pushed as appcontext_pushed
from .signals import appcontext_tearing_down as appcontext_tearing_down
from .signals import before_render_template as before_render_template
from .signals import got_request_exception as got_request_exception
from .signals import message_flashed as message_flashed
from .signals import request_finished as request_finished
from .signals import request_started as request_started
from .signals import request_tearing_down as request_tearing_down
from .signals import template_rendered as template_rendered
from .templating import render_template as render_template
from .templating import render_template_string as render_template_string
from .templating import stream_template as stream_template
from .templating import stream_template_string as stream_template_string
from .wrappers import Request as Request
from .wrappers import Response as Response

if t.TYPE_CHECKING:
    from . import uploads as uploads
    from .contract.markers import Body as Body
    from .contract.markers import Cookie as Cookie
    from .contract.markers import File as File
    from .contract.markers import Form as Form
    from .contract.markers import Header as Header
    from .contract.markers import Query as Query
    from .contract.markers import raises as raises
    from .contract.values.file import Upload as Upload
    from .contract.values.image import Image as Image
    from .contract.values.tensor import Tensor as Tensor


def install_as_flask() -> None:
    """Make `import flask`, and every module below it, import carboy's modules.

    Call this before anything imports Flask: names that a module has imported earlier keep referring
    to Flask's objects. See `carboy.compat`.
    """
    from .compat import install_as_flask

    install_as_flask()


# Public names that are imported on first use, because the modules that define them import msgspec.
_LAZY_NAMES = {
    "Body": "markers",
    "Cookie": "markers",
    "File": "markers",
    "Form": "markers",
    "Header": "markers",
    "Image": "values.image",
    "Query": "markers",
    "Tensor": "values.tensor",
    "Upload": "values.file",
    "raises": "markers",
}

# Modules that are imported on first use. Programs may use them as attributes of the package without
# importing them, because `import flask` imports them all.
_LAZY_MODULES = frozenset({"cli", "logging", "sansio", "uploads"})

if not t.TYPE_CHECKING:

    def __getattr__(name: str) -> t.Any:
        if name == "__version__":
            from importlib.metadata import version

            # If carboy is imported as `flask`, return a version of Flask, because extensions
            # compare `flask.__version__` with one.
            is_flask = sys.modules.get("flask") is sys.modules[__name__]
            return version("flask" if is_flask else "carboy")
        if name in _LAZY_NAMES:
            from importlib import import_module

            return getattr(import_module(f"{__name__}.contract.{_LAZY_NAMES[name]}"), name)
        if name in _LAZY_MODULES:
            from importlib import import_module

            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        # `vars` and not `globals()`, because the submodule `globals` hides the built-in function in
        # this module.
        return sorted({*vars(sys.modules[__name__]), *_LAZY_NAMES, *_LAZY_MODULES})
