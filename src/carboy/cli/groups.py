"""Click groups and a decorator for commands that run inside an application context."""

from __future__ import annotations

import typing as t
from functools import update_wrapper

import click

from ..globals import current_app

F = t.TypeVar("F", bound=t.Callable[..., t.Any])


def with_appcontext(f: F) -> F:
    """Decorate the function of a command, so that it runs in the app's context.

    Commands of `app.cli` and `blueprint.cli` need no decorator. The context is active until the
    command line ends, so that callbacks and subcommands share it.
    """

    @click.pass_context
    def in_context(ctx: click.Context, /, *args: t.Any, **kwargs: t.Any) -> t.Any:
        if not current_app:  # type: ignore[truthy-bool]  # a proxy
            from .discovery import ScriptInfo

            ctx.with_resource(ctx.ensure_object(ScriptInfo).load_app().app_context())
        return ctx.invoke(f, *args, **kwargs)

    return t.cast("F", update_wrapper(in_context, f))


class CheckedCommand(click.Command):
    """A command that reads environment variables which set no config key. `carboy config --check`
    asks it what is wrong with them.
    """

    def problems(self) -> list[str]:
        raise NotImplementedError


class AppGroup(click.Group):
    """A click group whose commands run in the app's context, unless `with_appcontext=False` is
    passed.
    """

    def command(  # type: ignore[override]  # click overloads this for use without parentheses
        self, *args: t.Any, **kwargs: t.Any
    ) -> t.Callable[[t.Callable[..., t.Any]], click.Command]:
        """Register a command, as `click.Group.command` does. The command runs in the app's
        context.
        """
        in_context = kwargs.pop("with_appcontext", True)

        def decorate(f: t.Callable[..., t.Any]) -> click.Command:
            make = super(AppGroup, self).command(*args, **kwargs)
            return t.cast("click.Command", make(with_appcontext(f) if in_context else f))

        return decorate

    def group(  # type: ignore[override]
        self, *args: t.Any, **kwargs: t.Any
    ) -> t.Callable[[t.Callable[..., t.Any]], click.Group]:
        """Register a group of commands, as `click.Group.group` does. The new group is an
        `AppGroup`.
        """
        kwargs.setdefault("cls", AppGroup)
        return t.cast(
            "t.Callable[[t.Callable[..., t.Any]], click.Group]", super().group(*args, **kwargs)
        )
