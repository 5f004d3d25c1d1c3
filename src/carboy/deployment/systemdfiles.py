"""`carboy systemd`: a service by which systemd starts, watches and confines the app, and the
sockets that systemd opens for it.
"""

from __future__ import annotations

import os
import re
import shlex
import site
import sys
import typing as t

import click

from ..errors import DeploymentError
from ..serving.management.controlpath import OFF
from ..serving.settings import SETTINGS
from .generatedfiles import GeneratedFile
from .generators import Generated, generator, render
from .projectfiles import is_within
from .serversettings import chosen_variable, refuse_changing_port, set_variable

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import pwd

    from ..serving.http.address import Address
    from .facts import Facts

# Matches what systemd accepts as the name of a user: https://systemd.io/USER_NAMES
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}", re.IGNORECASE)
# The folders that `TemporaryFileSystem=` and `PrivateTmp=yes` hide.
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - hidden, not written
_FILES_OF_TLS = ("tls_cert", "tls_key", "tls_password_file", "tls_client_ca")
# Where packages install units. Those in /etc/systemd/system replace them.
_UNIT_FOLDERS = ("/usr/lib/systemd/system", "/lib/systemd/system")
# Distributions give smaller numbers to users that they have themselves, and not to those that
# somebody adds by `useradd --system`, as for an app.
_FIRST_UID_OF_ADDED_USERS = 100
# Users that the system or well-known packages have, with rights or files that no app should get.
_USERS_OF_SYSTEM = frozenset({
    "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy",
    "www-data", "backup", "list", "irc", "gnats", "nobody", "adm", "ftp", "http", "operator",
    "halt", "shutdown", "dbus", "messagebus", "polkitd", "sshd", "syslog", "tss", "uuidd",
    "tcpdump", "avahi", "chrony", "ntp", "statd", "rpc", "dnsmasq", "named", "bind", "postfix",
    "dovecot", "nginx", "apache", "caddy", "haproxy", "squid", "postgres", "mysql", "mariadb",
    "mongodb", "redis", "valkey", "memcache", "memcached", "rabbitmq", "elasticsearch", "grafana",
    "prometheus", "influxdb", "git", "docker", "jenkins", "tomcat",
})  # fmt: skip
# The settings of the server that the socket file replaces, by `ListenStream=`, `SocketMode=` and
# `Backlog=`.
_OF_SOCKETS = ("host", "port", "bind", "socket_mode", "backlog")


class _UserName(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.1
    name = "user"

    def convert(self, value: str, param: object, ctx: click.Context | None) -> str:
        if not _USER.fullmatch(value):
            self.fail(
                f"{value!r}: expected the name of a user of the system: at most 31 letters, digits,"
                " hyphens and underscores, with a letter or underscore first."
            )
        return value


@generator("systemd", short_help="Write a service and a socket for systemd.")
@click.option(
    "--user",
    type=_UserName(),
    metavar="NAME",
    help="The user that runs the app.  [default: the name of the project]",
)
@click.option(
    "--group",
    type=_UserName(),
    default="www-data",
    show_default=True,
    metavar="NAME",
    help="The group of the web server: its members may connect to the Unix sockets of the app.",
)
@click.option(
    "--writable",
    metavar="FOLDER",
    multiple=True,
    help="A folder in which the app may write, such as one for uploads; may be repeated.",
)
@click.option(
    "--models",
    "for_models",
    is_flag=True,
    help="Write deploy/NAME-models.service alone, which serves the models with replicas to another"
    " server, such as gunicorn.",
)
def systemd_command(
    facts: Facts, *, user: str | None, group: str, writable: tuple[str, ...], for_models: bool
) -> Generated:
    """Write deploy/NAME.service and deploy/NAME.socket, by which systemd serves the app.

    systemd opens the sockets, starts the app, waits until it is ready, starts it again if it dies
    or hangs, and confines it: the app can write to its own folders only.

    Settings of 'carboy serve' in the environment, such as CARBOY_SERVE_BIND, go into the files.
    """
    name = facts.name
    units = [f"{name}-models.service"] if for_models else [f"{name}.service", f"{name}.socket"]
    _refuse_units_of_system(units)
    user = user or _user_named(name)
    written = _written_folders(facts, writable)
    if for_models:
        text = render("systemd.service.jinja", user=user, **_variables_of_models(facts, written))
        file = GeneratedFile(f"deploy/{name}-models.service", text)
        return Generated([file], _next_step_of_models(facts, user, written))
    variables = {"user": user, "group": group, **_variables(facts, written)}
    files = [
        GeneratedFile(f"deploy/{name}.{kind}", render(f"systemd.{kind}.jinja", **variables))
        for kind in ("service", "socket")
    ]
    return Generated(files, _next_step(facts, user, written))


def _written_folders(facts: Facts, more: cabc.Iterable[str]) -> list[str]:
    """Return the folders in which the app writes, as absolute paths.

    Raises:
        DeploymentError: one of them holds the code, which the app could change then.
    """
    folders = [*facts.written_folders, *(os.path.join(facts.root, each) for each in more)]
    written = sorted({os.path.abspath(each) for each in folders})
    for folder in written:
        if any(_is_within(code, [folder.rstrip("/")]) for code in facts.code_folders):
            raise DeploymentError(
                f"The app would write in {folder} (LOG_FILE, UPLOAD_FOLDER or --writable), which"
                " holds its code. Let it write in a folder of its own, such as data."
            )
    return written


def _variables(facts: Facts, written: cabc.Sequence[str]) -> dict[str, t.Any]:
    """Return the variables of both templates, except for the user and the group."""
    settings = facts.settings
    return {
        **_variables_of_service(facts, facts.name, written),
        "is_of_models": False,
        "start": _command(sys.executable, "-m", *facts.serve_command),
        "environment": _assignments(_environment(facts)),
        "addresses": [_stream(each) for each in settings.addresses],
        "has_unix_socket": any(each.path for each in settings.addresses),
        "settings": settings,
    }


def _variables_of_models(facts: Facts, written: cabc.Sequence[str]) -> dict[str, t.Any]:
    """Return the variables of the service of `carboy models serve`, which is confined as that of
    the app.

    Raises:
        DeploymentError: no model has replicas.
    """
    if not facts.has_replicas:
        raise DeploymentError(
            "--models has no effect: no model of the app has replicas. Declare them by"
            " @app.model(..., replicas=1) or more."
        )
    from ..serving.process.modelscommand import SETTINGS_OF_MODELS

    name = f"{facts.name}-models"
    command = [*facts.models_command, "--socket", _models_socket(facts)]
    return {
        **_variables_of_service(facts, name, written),
        "is_of_models": True,
        "start": _command(sys.executable, "-m", *command),
        "environment": [
            *_assignments(
                _environment(facts, SETTINGS_OF_MODELS, control=_control_of(facts, name))
            ),
            # The sockets of the replicas are in there: a /tmp of the service's own would hide them.
            quote(f"XDG_RUNTIME_DIR=/run/{name}"),
        ],
    }


def _models_socket(facts: Facts) -> str:
    return f"/run/{facts.name}-models/models.sock"


def _control_of(facts: Facts, name: str) -> str:
    return facts.settings.control or f"/run/{name}/control.sock"


def _variables_of_service(facts: Facts, name: str, written: cabc.Sequence[str]) -> dict[str, t.Any]:
    hidden = [each for each in written if _is_within(each, _HIDDEN)]
    return {
        "name": name,
        "app": facts.name,
        "root": quote_path(facts.root),
        "reload": _reload_command(_control_of(facts, name)),
        "stop_s": facts.stop_s,
        "read": _binds(_hidden_folders(facts)),
        "written": _words(each for each in written if each not in hidden),
        "written_in_hidden": _binds(hidden),
        "devices": facts.accelerators,
    }


def _assignments(variables: cabc.Iterable[tuple[str, str]]) -> list[str]:
    return [quote(f"{key}={value}") for key, value in variables]


def _user_named(name: str) -> str:
    """Return a name for the user of the service, from the name of the project."""
    is_usable = name[0].isalpha() and not _is_user_of_system(name)
    return (name if is_usable else f"app-{name}")[:31].rstrip("-")


def _is_user_of_system(name: str) -> bool:
    """Return whether a user belongs to the system or to another program, such as root and news."""
    if name in _USERS_OF_SYSTEM or name.startswith("systemd-"):
        return True
    user = _find_user(name)
    return user is not None and user.pw_uid < _FIRST_UID_OF_ADDED_USERS


def _refuse_units_of_system(units: cabc.Iterable[str]) -> None:
    """Raise DeploymentError if a package has one of the units, which the new one would replace."""
    for unit in units:
        for path in (os.path.join(folder, unit) for folder in _UNIT_FOLDERS):
            if os.path.exists(path):
                raise DeploymentError(
                    f"The unit {unit}, named after the project's folder, would replace {path},"
                    " which belongs to another program. Rename the folder."
                )


def _reload_command(control: str) -> str:
    """Return the command that reloads the app. `carboy ctl` waits until the reload has ended, and
    fails if the reload does, so that `systemctl reload` fails, too.
    """
    if control == OFF:
        return "/bin/kill -HUP $MAINPID"
    return _command(sys.executable, "-m", "carboy", "ctl", "--socket", control, "reload")


def _environment(
    facts: Facts, fields: cabc.Container[str] | None = None, *, control: str | None = None
) -> cabc.Iterator[tuple[str, str]]:
    """Yield the environment variables of the service: those of this process that set settings of
    the server, and those that the server needs under systemd.

    Args:
        fields: the settings that the server has; None for all.
        control: the path of the control socket.
    """
    control = control or _control_of(facts, facts.name)
    defaults = {} if control == OFF else {"control": control}
    if not facts.trusts_proxies and _is_local(facts):
        defaults["proxy"] = "1"  # only a web server on this machine can reach the app
    for setting in SETTINGS:
        if fields is not None and setting.field not in fields:
            continue
        if setting.field in _OF_SOCKETS:
            # An empty variable keeps the server from reading the setting from .env, which would
            # contradict the sockets that systemd passes. PORT is left alone, because the server
            # ignores it under systemd, and the app may read it.
            if (name := chosen_variable(setting)) is not None:
                yield name, ""
        elif (name := set_variable(setting)) is not None:
            yield name, os.environ[name]
        elif setting.field in defaults:
            yield setting.variables[0], defaults[setting.field]


def _is_local(facts: Facts) -> bool:
    """Return whether only programs on this machine can reach the app, such as a web server."""
    return all(
        each.path or each.host == "::1" or each.host.startswith("127.")
        for each in facts.settings.addresses
    )


def _stream(address: Address) -> str:
    """Return the value of `ListenStream=` for an address."""
    refuse_changing_port(address)
    return quote_path(address.path or str(address))


def _hidden_folders(facts: Facts) -> list[str]:
    """Return the folders that the app is imported from, and the files of TLS, that systemd would
    hide from it, because they are in a home folder or a temporary one. What is within another one
    of them is left out.
    """
    libraries = [sys.prefix, sys.base_prefix, *site.getsitepackages(), *sys.path]
    static = [each.folder for each in facts.static_folders]
    tls = [getattr(facts.settings, name) for name in _FILES_OF_TLS]
    needed = sorted(
        {os.path.abspath(each) for each in [facts.root, *static, *libraries, *tls] if each}
    )
    found: list[str] = []
    for folder in filter(os.path.exists, needed):
        if _is_within(folder, _HIDDEN) and not _is_within(folder, found):
            found.append(folder)
    return found


def _is_within(path: str, folders: cabc.Iterable[str]) -> bool:
    return any(is_within(path, folder) for folder in folders)


def _next_step(facts: Facts, user: str, written: cabc.Sequence[str]) -> str:
    name, group = facts.name, _group_of(user)
    steps = [f"useradd --system --shell /usr/sbin/nologin {user}"] if group is None else []
    if written:
        folders = shlex.join(written)
        steps.append(f"mkdir -p {folders} && chown -R {user}: {folders}")
    if os.path.exists(os.path.join(facts.root, ".env")):
        steps.append(f"chgrp {group or user} .env && chmod 640 .env    # the service reads it")
    steps += [
        f"install -m 600 /dev/null /etc/{name}.env    # for SECRET_KEY=... and other secrets",
        f"install -m 644 deploy/{name}.service deploy/{name}.socket /etc/systemd/system/",
        "systemctl daemon-reload",
        f"systemctl enable --now {name}.socket {name}.service",
    ]
    return "Then, as root, in this folder:\n  " + "\n  ".join(steps)


def _next_step_of_models(facts: Facts, user: str, written: cabc.Sequence[str]) -> str:
    name = f"{facts.name}-models"
    before = _next_step(facts, user, written).partition("  install -m 644")[0]
    return (
        f"{before}  install -m 644 deploy/{name}.service /etc/systemd/system/\n"
        f"  systemctl daemon-reload\n  systemctl enable --now {name}.service\n\n"
        f"And in the unit of the server that uses the models, which must have User={user}:\n"
        f"  [Unit]\n  Wants={name}.service\n  After={name}.service\n"
        f"  [Service]\n  Environment=CARBOY_MODELS_SOCKET={_models_socket(facts)}"
    )


def _group_of(user: str) -> str | None:
    """Return the main group of a user of this machine, by its name or, if it has none, by its
    number; None if there is no such user.
    """
    entry = _find_user(user)
    if entry is None:
        return None
    import grp

    try:
        return grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        return str(entry.pw_gid)


def _find_user(name: str) -> pwd.struct_passwd | None:
    try:
        import pwd

        return pwd.getpwnam(name)
    except (ImportError, KeyError):  # Windows has no such module
        return None


# ------------------------------------------------------------------ texts as systemd reads them


def quote_path(path: str) -> str:
    """Return a path as the value of a line that takes one path. systemd.unit(5): `%` begins a
    specifier, such as %n.
    """
    _refuse_control_characters(path)
    return path.replace("%", "%%")


def quote(word: str) -> str:
    """Return a word of a line that takes several words. systemd.syntax(7): words that contain
    spaces are in quotes, and a backslash escapes.
    """
    word = quote_path(word)
    if re.fullmatch(r"[\w@%+=:,./()-]+", word):
        return word
    return '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'


def _words(words: cabc.Iterable[str]) -> str:
    return " ".join(map(quote, words))


def _binds(folders: cabc.Iterable[str]) -> str:
    """Return the value of `BindPaths=`, in which a colon would begin another path."""
    return _words(each.replace(":", r"\:") for each in folders)


def _command(*words: str) -> str:
    """Return a command line. systemd.service(5): `$` begins a variable, also within quotes."""
    return _words(word.replace("$", "$$") for word in words)


def _refuse_control_characters(text: str) -> None:
    if not text.isprintable():
        raise DeploymentError(
            f"{text!r} contains a character that a unit of systemd cannot express. Rename it."
        )
