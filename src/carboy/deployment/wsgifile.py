"""`carboy wsgi`: a file by which mod_wsgi and other WSGI servers import the app."""

from __future__ import annotations

import os
import typing as t

from .generatedfiles import GeneratedFile
from .generators import Generated, generator, render

if t.TYPE_CHECKING:
    from .facts import Facts


@generator("wsgi", short_help="Write a .wsgi file for mod_wsgi.")
def wsgi_command(facts: Facts) -> Generated:
    """Write a file NAME.wsgi, by which mod_wsgi and other WSGI servers import the app.

    The file defines the app as `application`, and adds the project's folder to `sys.path`, so that
    the server may be started in any folder. `carboy apache --mod-wsgi` writes such a file and
    the configuration of Apache that uses it.
    """
    file = wsgi_file(facts)
    return Generated([file], f"Try it with: carboy serve {file.path}")


def wsgi_file(facts: Facts) -> GeneratedFile:
    imported = facts.imported
    name, call, arguments = imported.expression.partition("(")
    text = render(
        "app.wsgi.jinja",
        module=imported.name_in_python,
        name=name,
        call=call + arguments,
        is_as_flask=facts.is_as_flask,
        folder=os.path.relpath(imported.folder, facts.root),
    )
    return GeneratedFile(wsgi_path(facts), text)


def wsgi_path(facts: Facts) -> str:
    return f"{facts.name}.wsgi"
