"""`carboy gunicorn`: the configuration by which gunicorn serves the app."""

from __future__ import annotations

import os
import typing as t

from .generatedfiles import GeneratedFile
from .generators import Generated, generator, render
from .serveroptions import (
    choose_settings,
    choose_workers,
    proxy_advice,
    refuse_settings,
    server_options,
)
from .serversettings import is_set

if t.TYPE_CHECKING:
    from ..serving.settings import Settings
    from .facts import Facts


@generator("gunicorn", short_help="Write gunicorn.conf.py.")
@server_options
def gunicorn_command(facts: Facts, **options: t.Any) -> Generated:
    """Write gunicorn.conf.py, which gunicorn reads if it is started in the project's folder.

    Each worker imports the app and loads the models itself, so that nothing is shared by a fork.

    Settings of 'carboy serve' in the environment, such as CARBOY_SERVE_BIND, go into the file, as
    far as gunicorn has the same setting.
    """
    settings, imported = choose_settings(facts, options), facts.imported
    refuse_settings(settings, ["tls_password_file"], "gunicorn")
    text = render(
        "gunicorn.conf.py.jinja",
        target=imported.target,
        folder=os.path.relpath(imported.folder, facts.root),
        addresses=list(map(str, settings.addresses)),
        follows_port=not options["bind"] and not is_set("host", "port", "bind"),
        umask=_umask(settings),
        workers=choose_workers(facts, settings),
        has_models=facts.has_models,
        settings=settings,
    )
    command = "carboy --as-flask -m gunicorn" if facts.is_as_flask else "gunicorn"
    return Generated(
        [GeneratedFile("gunicorn.conf.py", text)],
        f"Start the app in this folder: {command}{proxy_advice(facts, 'gunicorn')}",
    )


def _umask(settings: Settings) -> str | None:
    """Return, in octal digits, the permissions that a Unix socket does not get: gunicorn would let
    all users of the machine connect. None if there is no Unix socket.
    """
    if not any(each.path for each in settings.addresses):
        return None
    return f"{0o777 & ~int(settings.socket_mode, 8):03o}"
