"""Run Werkzeug's development server for `carboy run` and `app.run()`, with a safe debugger.

A client that reaches Werkzeug's debugger can run Python code as the user who started the server.
The debugger is therefore started on loopback addresses only. On other addresses debug mode does
without it, and a program that asks for the debugger itself is refused.
"""

from __future__ import annotations

import errno
import socket
import sys
import threading
import typing as t
from contextlib import nullcontext
from functools import partial

import click
from werkzeug.serving import is_running_from_reloader

from ..core.advice import port_in_use
from ..core.dispatch import carboy_app
from ..core.logmasking import mask_failed_threads
from ..core.masking import mask_text
from ..core.reachability import ALL_ADDRESSES, advice_in_container, exposed_address
from ..errors import AddressError, ConfigError, DebuggerExposedError, ModelLoadError
from ..observability.keys import is_any_set
from ..project.reloading import variables_named_for_child, watched_files
from .debugpages import mask_tracebacks
from .index import add_index

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from ..models.collection import Models
    from ..project import Project


_HOSTS_TO_USE = "Use 127.0.0.1 for this machine alone, or 0.0.0.0 for all its networks."


def run_development(app: WSGIApplication, host: str, port: int, **options: t.Any) -> None:
    """Run the development server until it is stopped.

    Args:
        app: the application.
        host: a name, an address, or `unix://` and a path.
        port: 0 lets the operating system choose.
        options: keyword arguments of `werkzeug.serving.run_simple`.

    Raises:
        DebuggerExposedError: the debugger is enabled, and other machines can reach the address.
        AddressError: the host is unknown, or the address belongs to another machine.
    """
    from werkzeug import serving

    _configure_log(app)
    if options.get("use_debugger"):
        refuse_exposed_debugger(host)
    if _is_taken(host, port) and not is_running_from_reloader():
        # Werkzeug would end the process with an error message, too, but with one that does not say
        # what the user can do.
        sys.exit(f"Error: Cannot listen on {host}: {port_in_use(port)}")
    _show_environment(app)
    _advise_on_address(host)
    add_index(app)
    _check_configuration(app)
    mask_tracebacks()
    mask_failed_threads()
    is_parent = options.get("use_reloader") and not is_running_from_reloader()
    if not is_parent:
        load_models_beside(app)
    if is_running_from_reloader() and (files := watched_files()):
        options["extra_files"] = [*(options.get("extra_files") or ()), *files]
    try:
        with variables_named_for_child() if is_parent else nullcontext():
            serving.run_simple(host, port, app, **options)
    except SystemExit:
        # Werkzeug has printed the operating system's error, which does not say that the host name
        # is wrong. Raise an error that says so.
        _explain_host(host)
        raise
    except OverflowError:
        raise AddressError(f"Port {port} is out of range: expected 0 to 65535.") from None


def _configure_log(app: WSGIApplication) -> None:
    """Configure logging as the app's keys `LOG_*` ask for; end the process if one is not valid."""
    own_app = carboy_app(app)
    if not is_any_set(own_app):
        return
    from ..observability.setup import configure

    _end_if_invalid(partial(configure, own_app, terminal=True))


def _check_configuration(app: WSGIApplication) -> None:
    """End the process if the app's configuration of access is not valid."""
    if (own_app := carboy_app(app)) is not None:
        _end_if_invalid(own_app.find_overrides)


def _end_if_invalid(read: cabc.Callable[[], object]) -> None:
    """Call a function that reads the configuration of an app, and print its error.

    The reloader's child process must not end then: it watches for the change that corrects the
    configuration.
    """
    try:
        read()
    except ConfigError as exc:
        click.secho(f"Error: {exc}", err=True)
        if not is_running_from_reloader():
            sys.exit(2)


def load_models_beside(app: t.Any) -> threading.Thread | None:
    """Load the models of an app on another thread, while its views are already served. Errors are
    printed.

    If a model fails to load, its first prediction tries again, and reports the same error.
    """
    # `app` may be any WSGI application. Only an app of carboy has models.
    models = getattr(app, "__dict__", {}).get("models")
    if not models:
        return None
    thread = threading.Thread(target=_load_all, args=(models,), daemon=True)
    thread.start()
    return thread


def _load_all(models: Models) -> None:
    for model in models.values():
        try:
            model.load()
        except ModelLoadError as exc:
            click.secho(mask_text(f" * {exc}"), fg="red", err=True)


def starts_debugger(debug: bool, host: str) -> bool:
    """Return whether the debugger is started if the user has not decided about it: in debug mode,
    unless other machines can reach the host. In this case a warning says why not.
    """
    try:
        where = _where_exposed(host) if debug else ""
    except AddressError:
        return debug  # the host is unknown, which `run_development` reports
    if where and not is_running_from_reloader():
        click.secho(
            f" * Debug mode without the interactive debugger: on host {host!r} it could be reached"
            f" from {where}, and anybody there could run code here. To have it, use the host"
            " 127.0.0.1 (from another machine: through 'ssh -L'). Without it the browser shows an"
            " error of the app as 'Internal Server Error', and its traceback is printed here.",
            fg="yellow",
            err=True,
        )
    return debug and not where


def refuse_exposed_debugger(host: str) -> None:
    """Raise `DebuggerExposedError` if other machines can reach the host, that is, unless all its
    addresses are loopback.
    """
    where = _where_exposed(host)
    if not where:
        return
    raise DebuggerExposedError(
        f"The debugger was asked for on host {host!r}, which can be reached from {where}: anybody"
        " there could run code here. Use the host 127.0.0.1 (from another machine: through"
        " 'ssh -L'), or keep debug mode and reloader without the debugger: 'carboy run --debug'"
        " without '--debugger', or app.run(debug=True) without 'use_debugger=True'. To let others"
        " use the app, run 'carboy serve'."
    )


def _where_exposed(host: str) -> str:
    """Return from where other machines can reach the host; "" if they cannot."""
    try:
        exposed = exposed_address(host)
    except socket.gaierror as exc:
        raise _unknown_host(host, exc) from None
    if exposed is None:
        return ""
    return "every network of this machine" if exposed in ALL_ADDRESSES else "the network"


def _advise_on_address(host: str) -> None:
    """In a container, say that nobody outside of it can reach a host that is loopback."""
    advice = "" if is_running_from_reloader() else advice_in_container(host)
    if advice:
        click.secho(f" * {advice}", fg="yellow", err=True)


def _is_taken(host: str, port: int) -> bool:
    """Return whether another program listens on the address. If the address cannot be used for a
    different reason, return False.
    """
    if host.startswith("unix://") or not port:
        return False
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            # On Windows, SO_REUSEADDR would let two programs share the port.
            option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
            probe.setsockopt(socket.SOL_SOCKET, option, 1)
            probe.bind(address)
    except (OSError, OverflowError) as exc:
        return isinstance(exc, OSError) and exc.errno == errno.EADDRINUSE
    return False


def _explain_host(host: str) -> None:
    """Raise `AddressError` if the server could not listen because its host is unknown or is not an
    address of this machine.
    """
    if host.startswith("unix://"):
        return
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as exc:
        raise _unknown_host(host, exc) from None
    try:
        with socket.socket(family, kind, proto) as probe:
            probe.bind(address)
    except OSError as exc:
        if exc.errno == errno.EADDRNOTAVAIL:
            raise AddressError(
                f"The host {host!r} is not an address of this machine. {_HOSTS_TO_USE}"
            ) from None


def _unknown_host(host: str, exc: socket.gaierror) -> AddressError:
    return AddressError(f"The host {host!r} has no address ({exc.strerror}). {_HOSTS_TO_USE}")


def show_server_banner(debug: bool, app_import_path: str | None) -> None:
    """Print the app's name and the debug mode, except in child processes of the reloader."""
    if is_running_from_reloader():
        return
    if app_import_path is not None:
        click.echo(f" * Serving app '{app_import_path}' for development")
    if debug is not None:
        click.echo(f" * Debug mode: {'on' if debug else 'off'}")


def _show_environment(app: WSGIApplication) -> None:
    """Print the environment of a project, except in child processes of the reloader."""
    # A program may have a config of its own class, and `app` may be any WSGI application.
    project: Project | None = getattr(getattr(app, "config", None), "project", None)
    if project is not None and not is_running_from_reloader():
        click.echo(f" * Environment: {project.describe_environment()}")


def say_run_is_ignored(method: str) -> None:
    """Warn that a call of `app.run()` or `app.serve()` is ignored, because it is in a module that a
    `carboy` command is importing.
    """
    if is_running_from_reloader():
        return
    click.secho(
        f" * Ignoring a call of 'app.{method}()' in a module that a 'carboy' command imports: it\n"
        '   would never return. Put it under: if __name__ == "__main__".',
        fg="red",
        err=True,
    )
