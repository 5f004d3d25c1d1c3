"""The tables of the documentation that are made from the code.

`python tests/support/doctables.py` writes them anew; tests compare them. A table stands between
two comments: `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

from __future__ import annotations

import inspect
import pathlib
import posixpath
import re
import textwrap
import typing as t
from functools import partial
from importlib.metadata import entry_points

import click
import securitylist
import silenced

from carboy.cli import cli
from carboy.config import OWN_KEYS
from carboy.deployment.checks.checkregistry import all_checks
from carboy.serving.metrics.families import FAMILIES
from carboy.serving.settings import SETTINGS

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
_BLOCK = re.compile(r"(<!-- table: ([\w ]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def table(titles: t.Sequence[str], rows: t.Iterable[t.Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def settings() -> str:
    """The settings of the server."""
    rows = []
    for setting in SETTINGS:
        option = (
            f"`{setting.short}`, `{setting.option}`" if setting.short else f"`{setting.option}`"
        )
        variables = f"`{setting.variables[0]}`"
        for other in filter(None, (setting.variable, *setting.platforms)):
            variables += f", then `{other}`"
        rows.append(
            (
                option,
                variables,
                f"`{setting.argument}`",
                setting.default_text,
                setting.help,
            )
        )
    return table(("Option", "Environment", "Argument", "Default", "Meaning"), rows)


# By the field of a limit: what the log says when it is reached.
_LIMIT_LINES = {
    "threads": "nothing: further requests wait for a thread. In the access log `ms` grows, and"
    " `view_ms` does not",
    "max_body_bytes": "`refused a body of ... bytes from ...: --max-body is ...`",
    "max_held_bodies_bytes": "status 503 in the access log; the client is told `bodies-full`",
    "max_held_responses_bytes": "`clients have not read too many responses`",
    "max_head_bytes": "`refused a request from ...: 431 REQUEST HEADER FIELDS TOO LARGE`",
    "max_headers": "`refused a request from ...: 431 REQUEST HEADER FIELDS TOO LARGE`",
    "head_timeout_s": "`refused a request from ...: 408 REQUEST TIMEOUT`",
    "body_timeout_s": "`refused a request from ...: its body is incomplete`",
    "stall_timeout_s": "`aborted=true` in the access log",
    "keep_alive_s": "nothing",
    "connections": "`all ... connections are open: ...`",
    "backlog": "nothing: the system drops what exceeds it (`nstat -az TcpExtListenDrops`)",
    "max_websockets": "`refused a WebSocket of ...: all ... of this worker are in use`",
    "websocket_idle_s": "nothing: the client gets a close frame",
    "view_timeout_s": "`... has taken more than ... s (--view-timeout)`, with its stack",
    "worker_timeout_s": "`worker ... hangs: ...`, with the stacks of its threads",
    "max_requests": "`it has answered ... requests (--max-requests)`",
    "max_rss_bytes": "`it uses ... MiB of resident memory (--max-rss is ...)`",
    "memory_limit_bytes": "at the start, how many workers fit, and why",
    "grace_s": "`worker ... has not finished its requests: killed`; exit code 1",
}


def limits() -> str:
    """The limits of the server, and how to find out that one was reached."""
    rows = [
        (f"`{setting.option}`", setting.default_text, _LIMIT_LINES[setting.field])
        for setting in SETTINGS
        if setting.field in _LIMIT_LINES
    ]
    return table(("Limit", "Default", "What the log says when it is reached"), rows)


def config_keys(prefix: str = "") -> str:
    """The keys that carboy adds to Flask's, or those of one subject."""
    rows = (
        (f"`{name}`", f"`{key.default!r}`".replace("'", ""), key.help)
        for name, key in (OWN_KEYS if prefix else dict(sorted(OWN_KEYS.items()))).items()
        if name.startswith(prefix)
    )
    return table(("Key", "Default", ""), rows)


def metrics() -> str:
    """The metrics of the server."""
    rows = []
    for family in FAMILIES:
        labels = " ".join(f"`{label}`" for label in family.labels)
        rows.append((f"`{family.name}`", family.kind, labels, family.help))
    return table(("Metric", "Type", "Labels", "Meaning"), rows)


def commands() -> str:
    """All commands, each with its help and its options."""
    top = click.Context(cli, info_name="carboy")
    # The group itself would also ask the app in the current folder for commands.
    found = {each.name: each.load() for each in entry_points(group="carboy.commands")}
    contexts = _contexts({**cli.commands, **found}, top)
    return "\n".join(_command(context) for context in contexts)


def _contexts(
    listed: t.Mapping[str, click.Command], parent: click.Context
) -> t.Iterator[click.Context]:
    for name, command in sorted(listed.items()):
        context = click.Context(command, info_name=name, parent=parent)
        yield context
        if isinstance(command, click.Group):
            yield from _contexts(command.commands, context)


def _command(context: click.Context) -> str:
    """Return the section of one command: how it is written, its help, its options."""
    command, path = context.command, context.command_path
    usage = " ".join(command.collect_usage_pieces(context))
    level = "#" * (path.count(" ") + 1)
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    help_text = "\n\n".join(map(_paragraph, paragraphs))
    records = (
        [part.replace("|", "\\|") for part in record]
        for parameter in command.get_params(context)
        if "--help" not in parameter.opts
        and (record := parameter.get_help_record(context))
        and record[1]
    )
    options = [(f"`{names}`", meaning) for names, meaning in records]
    shown = f"\n{table(('Option', 'Meaning'), options)}" if options else ""
    return f"{level} {path}\n\n`{path} {usage}`\n\n{help_text}\n{shown}"


def _paragraph(text: str) -> str:
    """Return a paragraph of a help. One that begins with a line "\\b", by which click keeps its
    lines as they are, becomes a block of text.
    """
    if text.startswith("\b\n"):
        lines = textwrap.dedent(text.removeprefix("\b")).strip()
        return f"```text\n{lines}\n```"
    return re.sub(r"([<*_])", r"\\\1", text)


def checks() -> str:
    """The checks of `carboy check`."""
    rows = (
        (f"`{each.code}`", "`--deploy`" if each.deploy else "always", each.title, each.remedy)
        for each in all_checks()
    )
    return table(("Code", "Made", "Mistake", "Remedy"), rows)


def security() -> str:
    """The threats that carboy is tested against."""
    rows = (
        (topic.title, topic.holds, ", ".join(topic.items), "<br>".join(map(_link, topic.tests)))
        for topic in securitylist.read_topics()
    )
    return table(("Topic", "What holds", "ASVS 5.0", "Tests"), rows)


def _link(path: str) -> str:
    return f"[{posixpath.basename(path)}](../{path})"


def silenced_findings() -> str:
    """The findings of security linters that comments silence."""
    rows = [(f"`{file}`", rules, reason) for file, rules, reason in silenced.rows()]
    return table(("File", "Rules", "Reason"), rows)


TABLES: dict[str, t.Callable[[], str]] = {
    "settings of the server": settings,
    "metrics": metrics,
    "limits of the server": limits,
    "checks": checks,
    "commands": commands,
    "config keys": config_keys,
    "config keys ACCESS": partial(config_keys, "ACCESS_"),
    "config keys CHECK": partial(config_keys, "CHECK_"),
    "config keys JSON": partial(config_keys, "JSON_"),
    "config keys LOG": partial(config_keys, "LOG_"),
    "config keys MODEL": partial(config_keys, "MODEL_"),
    "config keys OPENAPI": partial(config_keys, "OPENAPI_"),
    "config keys STATIC": partial(config_keys, "STATIC_"),
    "security": security,
    "silenced findings": silenced_findings,
}


def renewed(text: str) -> str:
    """The text of a page with its tables made anew."""
    return _BLOCK.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


def main() -> None:
    for page in sorted(DOCS.rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = renewed(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"wrote {page.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
