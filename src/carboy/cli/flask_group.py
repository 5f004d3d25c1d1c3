"""`FlaskGroup`, a click group that finds commands by their names and sets environment variables for
them.
"""

from __future__ import annotations

import os
import typing as t

import click

from ..core.advice import did_you_mean
from ..globals import current_app
from ..project.dotenvfile import files_read
from ..project.variables import set_by_command
from . import global_options, usage
from .discovery import NoAppException, ScriptInfo
from .dotenv import restore_prefixes, share_prefixes
from .groups import AppGroup

if t.TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from ..app import Flask

# The groups of entry points from which commands are loaded. A command of the second group overrides
# one of the same name in the first; both override built-in commands.
ENTRY_POINT_GROUPS = ("flask.commands", "carboy.commands")
# Where carboy's commands are that Flask lacks and that load the app. A program for Flask may have
# commands of their names: its own take precedence.
_YIELDING_MODULES = (
    "carboy.cli.apikeys:",
    "carboy.cli.configuration:",
    "carboy.cli.documents:",
    "carboy.serving.process.modelscommand:",
    "carboy.serving.process.raycommand:",
    "carboy.deployment.",
)


class FlaskGroup(AppGroup):
    """A click group with the built-in commands, those of installed packages, and those of one app.

    Args:
        add_default_commands: add `run`, `shell` and `routes`.
        create_app: creates the app instead of importing the one that `--app` names.
        add_version_option: add `--version`.
        load_dotenv: read `.env` and `.flaskenv`, from the current folder upwards.
        set_debug_flag: set the app's `debug` from the environment after loading it.
        extra: keyword arguments of `AppGroup`.
    """

    def __init__(
        self,
        add_default_commands: bool = True,
        create_app: t.Callable[..., Flask] | None = None,
        add_version_option: bool = True,
        load_dotenv: bool = True,
        set_debug_flag: bool = True,
        **extra: t.Any,
    ) -> None:
        params = [
            *(extra.pop("params", None) or ()),
            global_options.env_file_option,
            global_options.app_option,
            global_options.debug_option,
        ]
        if add_version_option:
            params.append(global_options.version_option)
        extra.setdefault("context_settings", {}).setdefault("auto_envvar_prefix", "FLASK")
        super().__init__(params=params, **extra)

        self.create_app = create_app
        self.load_dotenv = load_dotenv
        self.set_debug_flag = set_debug_flag
        self._entry_points: dict[str, EntryPoint] | None = None
        self._yielding: set[str] = set()
        if add_default_commands:
            # Take the commands from the module `cli`, because a program may replace
            # `cli.run_command`.
            from .. import cli

            for command in (cli.run_command, cli.shell_command, cli.routes_command):
                self.add_command(command)

    def _plugins(self) -> dict[str, EntryPoint]:
        """Return the entry points of commands by the command's name, except those that were loaded
        already.
        """
        if self._entry_points is None:
            from importlib.metadata import entry_points

            self._entry_points = {
                ep.name: ep for group in ENTRY_POINT_GROUPS for ep in entry_points(group=group)
            }
        return self._entry_points

    def _load_plugin(self, name: str) -> None:
        # Load only the requested command, so that a broken package does not break other commands.
        entry_point = self._plugins().pop(name, None)
        if entry_point is None:
            return
        if self._yields(entry_point):
            if name in self.commands:
                return
            self._yielding.add(name)
        try:
            command = entry_point.load()
        except Exception as exc:  # noqa: BLE001  # any package's import may fail in any way
            package = entry_point.dist.name if entry_point.dist else entry_point.value
            click.secho(
                f"Error: the command {name!r} of the package {package!r} cannot be loaded:"
                f" {type(exc).__name__}: {exc}\n",
                err=True,
                fg="red",
            )
            return
        self.add_command(command, name)

    @staticmethod
    def _yields(entry_point: EntryPoint) -> bool:
        return entry_point.value.startswith(_YIELDING_MODULES)

    def _load_plugin_commands(self) -> None:
        for name in list(self._plugins()):
            self._load_plugin(name)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a built-in or installed command; if there is none, load the app and return its
        command.
        """
        self._load_plugin(name)
        command = super().get_command(ctx, name)
        found = getattr(ctx.find_object(ScriptInfo), "_found_app", None)
        is_hidden = name in self._yielding and found is not None and name in found.cli.commands
        if command is not None and not is_hidden:
            return command

        try:
            app = ctx.ensure_object(ScriptInfo).load_app()
        except NoAppException as exc:
            click.secho(f"Error: {exc.format_message()}\n", err=True, fg="red")
            return None
        # Activate the app's context now, because callbacks of the command's parameters, which run
        # before the command, may need it.
        if not current_app or current_app._get_current_object() is not app:  # type: ignore[truthy-bool,attr-defined]
            ctx.with_resource(app.app_context())
        return app.cli.get_command(ctx, name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands. If the app cannot be loaded, its commands are
        missing.
        """
        self._load_plugin_commands()
        names = set(super().list_commands(ctx))
        try:
            names.update(ctx.ensure_object(ScriptInfo).load_app().cli.list_commands(ctx))
        except NoAppException as exc:
            click.secho(f"Error: {exc.format_message()}\n", err=True, fg="red")
        except Exception as exc:  # noqa: BLE001  # help must be shown whatever the app does
            from .failures import format_for_user

            click.secho(f"{format_for_user(exc)}\n", err=True, fg="red")
        return sorted(names)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        self._load_app_before(ctx, args)
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            if not args:
                raise
            known = {*self.commands, *self._plugins()}
            hint = ""
            if "run" in known and self.create_app is None:
                hint = usage.hint_at_server(args[0])
            if not hint:
                # Since version 8.4, the message of click's own error suggests a similar command, so
                # raise that error.
                if "Did you mean" in exc.format_message():
                    raise
                if getattr(ctx.find_object(ScriptInfo), "_loaded_app", None):
                    known.update(self.list_commands(ctx))
                hint = did_you_mean(args[0], known)
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx) from None

    def _load_app_before(self, ctx: click.Context, args: list[str]) -> None:
        """Load the app if it may have a command that takes precedence over carboy's. Load it in the
        way that carboy's command needs: record origins of config values, and print to stderr. If
        that fails, carboy's command reports it.
        """
        from .configuration import recorded_origins
        from .results import stdout_for_results

        entry_point = self._plugins().get(args[0]) if args else None
        # A group that is used again has loaded the command already.
        is_loaded = bool(args) and args[0] in self._yielding
        if is_loaded or (entry_point is not None and self._yields(entry_point)):
            with recorded_origins(), stdout_for_results():
                ctx.ensure_object(ScriptInfo).try_to_find_app()

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: t.Any,
    ) -> click.Context:
        # This variable makes `app.run()` and `app.serve()` do nothing: a call at the top level of
        # the user's module would block the command that imports the module.
        os.environ["FLASK_RUN_FROM_CLI"] = "true"
        before = {"FLASK_ENV": os.environ.get("FLASK_ENV"), **share_prefixes()}
        if "obj" not in extra and "obj" not in self.context_settings:
            extra["obj"] = ScriptInfo(
                create_app=self.create_app,
                set_debug_flag=self.set_debug_flag,
                load_dotenv_defaults=self.load_dotenv,
            )
        try:
            ctx = super().make_context(info_name, args, parent=parent, **extra)
        except click.BadParameter as exc:
            restore_prefixes(before)
            raise global_options.naming_the_variable(exc) from None
        except BaseException:
            restore_prefixes(before)
            raise
        ctx.call_on_close(lambda: restore_prefixes(before))
        ctx.call_on_close(files_read.clear)
        ctx.call_on_close(set_by_command.clear)
        return ctx

    def invoke(self, ctx: click.Context) -> t.Any:
        # Copy the command's arguments, because click empties the list, and the error handler below
        # needs them for a hint.
        arguments = list(ctx.args)
        try:
            return super().invoke(ctx)
        except click.BadParameter as exc:
            raise global_options.naming_the_variable(exc) from None
        except click.NoSuchOption as exc:
            hint = usage.hint_at_place_of_option(exc, ctx, self._command_of_package)
            raise (click.UsageError(hint, exc.ctx) if hint else exc) from None
        except NoAppException:
            raise
        except click.UsageError as exc:
            hint = "" if self.create_app else usage.hint_at_app_option(exc, ctx, arguments)
            message = exc.message.rstrip(".")
            raise (click.UsageError(f"{message}.{hint}", exc.ctx) if hint else exc) from None

    def _command_of_package(self, name: str) -> click.Command | None:
        """Return a built-in or installed command, without loading the app."""
        self._load_plugin(name)
        return self.commands.get(name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = len(args) == 1 and args[0] in self.get_help_option_names(ctx)
        if asks_for_help or (not args and self.no_args_is_help):
            # Read `.env` and `.flaskenv` now, because click handles `--help` before other options.
            # If they set CARBOY_APP, the help then lists the commands of that app.
            global_options.env_file_option.handle_parse_result(ctx, {}, [])
            global_options.app_option.handle_parse_result(ctx, {}, [])
        return super().parse_args(ctx, args)
