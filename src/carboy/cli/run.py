"""`carboy run`: the development server from the command line."""

from __future__ import annotations

import os
import typing as t

import click
from werkzeug.serving import is_running_from_reloader

from ..errors import ServingError
from ..helpers import get_debug_flag
from . import global_options
from .development import starts_debugger
from .discovery import ScriptInfo, app_option, has_project, pass_script_info

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import ssl

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class CertParamType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """The type of the option `--cert`: a file, the word `adhoc`, or the import path of an
    `ssl.SSLContext`.
    """

    name = "path"

    def __init__(self) -> None:
        self.path_type = click.Path(exists=True, dir_okay=False, resolve_path=True)

    def convert(
        self, value: t.Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> t.Any:
        try:
            import ssl
        except ImportError:
            raise click.BadParameter(
                "This Python was built without SSL, which '--cert' needs.", ctx, param
            ) from None
        try:
            return self.path_type(value, param, ctx)
        except click.BadParameter:
            text = str(value).lower()
            if text == "adhoc":
                _require_cryptography(ctx, param)
                return text
            from werkzeug.utils import import_string

            found = import_string(str(value), silent=True)
            if isinstance(found, ssl.SSLContext):
                return found
            raise


def _require_cryptography(ctx: click.Context | None, param: click.Parameter | None) -> None:
    try:
        import cryptography  # noqa: F401  # Werkzeug makes the certificate with it
    except ImportError:
        raise click.BadParameter(
            "'adhoc' makes a certificate with the package cryptography, which is not installed:"
            " pip install cryptography.",
            ctx,
            param,
        ) from None


def _join_key(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Combine `--cert` and `--key` into a pair. Raise `BadParameter` if one of them is missing
    although the other needs it, or if `--cert` contains a key already.
    """
    cert = ctx.params.get("cert")
    complete = cert == "adhoc" or (cert is not None and not isinstance(cert, str))
    if value is None:
        if cert and not complete:
            raise click.BadParameter("The file given as '--cert' needs its '--key'.", ctx, param)
        return None
    if complete:
        kind = "'adhoc'" if cert == "adhoc" else "an SSLContext"
        raise click.BadParameter(f"'--cert' is {kind} and has its key already.", ctx, param)
    if not cert:
        raise click.BadParameter("'--key' needs its certificate, given as '--cert'.", ctx, param)
    ctx.params["cert"] = (cert, value)
    return value


class SeparatedPathType(click.Path):
    """A command-line argument with several paths, separated like those in the variable `PATH`."""

    def convert(
        self, value: t.Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> t.Any:
        convert = super().convert
        return [convert(item, param, ctx) for item in self.split_envvar_value(value)]


@click.command("run", short_help="Run the development server.")
@click.argument("target", metavar="[MODULE:APP]", required=False)
@app_option
@click.option("--host", "-h", default="127.0.0.1", help="Address to listen on.")
@click.option(
    "--port", "-p", default=5000, type=click.IntRange(0, 65535), help="Port to listen on."
)
@click.option(
    "--cert",
    type=CertParamType(),
    is_eager=True,
    help="Serve HTTPS with this certificate file, with 'adhoc', or with an SSLContext to import.",
)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    callback=_join_key,
    expose_value=False,
    help="The key of the certificate file.",
)
@click.option(
    "--reload/--no-reload",
    default=None,
    help="Restart when a file changes. By default in debug mode.",
)
@click.option(
    "--debugger/--no-debugger",
    default=None,
    help="Show exceptions in the browser; on loopback only. By default in debug mode.",
)
@click.option("--with-threads/--without-threads", default=True, help="Handle requests in threads.")
@click.option(
    "--extra-files",
    default=None,
    type=SeparatedPathType(),
    help=f"More files to watch, separated by {os.pathsep!r}.",
)
@click.option(
    "--exclude-patterns",
    default=None,
    type=SeparatedPathType(),
    help=f"Files not to watch, as fnmatch patterns separated by {os.pathsep!r}.",
)
@pass_script_info
def run_command(
    info: ScriptInfo,
    target: str | None,
    host: str,
    port: int,
    reload: bool | None,
    debugger: bool | None,
    with_threads: bool,
    cert: ssl.SSLContext | tuple[str, str | None] | t.Literal["adhoc"] | None,
    extra_files: list[str] | None,
    exclude_patterns: list[str] | None,
) -> None:
    """Run the development server.

    The app is MODULE:APP, a file such as 'app.py', or the app that '--app' names. The server is for
    one developer at a time. Use 'carboy serve' in production.

    With '--debug' it restarts when a file changes, and shows exceptions in the browser.
    """
    # Call functions through the module `cli`, because users and tests may replace
    # `cli.run_development`.
    from .. import cli

    info.choose_app(target)
    app = _load_app(info)
    debug = app.debug if has_project(app) else get_debug_flag()  # type: ignore[attr-defined]
    cli.show_server_banner(debug, info.app_import_path)
    try:
        cli.run_development(
            app,
            host,
            port,
            use_reloader=debug if reload is None else reload,
            use_debugger=starts_debugger(debug, host) if debugger is None else debugger,
            threaded=with_threads,
            ssl_context=cert,
            extra_files=extra_files,
            exclude_patterns=exclude_patterns,
        )
    except ServingError as exc:
        raise click.UsageError(str(exc)) from None


run_command.params.insert(0, global_options.debug_option)


def _load_app(info: ScriptInfo) -> WSGIApplication:
    """Return the app. If it cannot be imported, and the reloader has started this process, return
    an app that raises the error for each request.

    The reloader's process must not end: it watches for the change that repairs the file.
    """
    try:
        return info.load_app()
    except Exception as exc:
        if not is_running_from_reloader():
            raise
        from . import failures

        failures.report(exc)
        error = exc

    def broken_app(environ: WSGIEnvironment, start_response: StartResponse) -> cabc.Iterable[bytes]:
        raise error from None

    return broken_app
