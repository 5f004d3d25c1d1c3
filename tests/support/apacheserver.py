"""Debian's Apache with a configuration of its own, beside none of the system."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import typing as t

import guides
import pytest
import spawning

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULES = pathlib.Path("/usr/lib/apache2/modules")
# What Debian's Apache always loads, of what matters here.
_ALWAYS = ("mpm_event", "authz_core", "authz_host", "dir", "env", "negotiation", "status")
# The order in which modules must be loaded: each after those that it uses.
_FIRST = ("mpm_event", "filter", "proxy", "socache_shmcb")

_MAIN = """
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
LogLevel warn
ServerName localhost
DocumentRoot {folder}
TypesConfig /etc/mime.types
StartServers 2
ThreadsPerChild 25
MaxRequestWorkers 150
GracefulShutdownTimeout 5
{user}
{modules}
<Directory />
    AllowOverride None
    Require all denied
</Directory>
{before}
Include {file}
"""


def start(
    folder: pathlib.Path,
    file: pathlib.Path,
    port: int,
    *,
    before: str = "",
) -> spawning.Program:
    """Start Apache with a site's configuration, and wait until it listens.

    Args:
        folder: for all files of this Apache.
        file: the configuration of the site; a comment in it names the modules that it needs.
        port: the port on which the site listens.
        before: further directives, before those of the site.
    """
    command = [*_configured(folder, file.read_text(), before), "-D", "FOREGROUND"]
    program = spawning.start(command, log=folder / "log", port=port, cwd=folder)
    try:
        program.wait_until_it_listens()
    except BaseException:
        program.stop()
        raise
    return program


def check(folder: pathlib.Path, text: str) -> None:
    """Assert that Apache accepts a site's configuration without a word.

    Args:
        folder: for the files of this Apache.
        text: the configuration.
    """
    _configured(folder, text, "")


def _configured(folder: pathlib.Path, text: str, before: str) -> list[str]:
    """Write the configuration of an Apache with a site, check it, and return the command line."""
    needs_apache()
    site, main = folder / "site.conf", folder / "apache2.conf"
    site.write_text(text)
    # Apache started by root answers requests as another user.
    user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    modules = _load(_named_modules(text))
    main.write_text(
        _MAIN.format(folder=folder, file=site, user=user, modules=modules, before=before)
    )
    command = ["/usr/sbin/apache2", "-f", str(main)]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    assert tested.stderr == "Syntax OK\n", tested.stderr
    return command


def needs_apache() -> None:
    if shutil.which("apache2", path="/usr/sbin") is None:
        pytest.skip("no apache2: `make test-webservers` as root installs it by apt")


def errors(folder: pathlib.Path) -> str:
    """Return what the Apache of this folder has logged."""
    return (folder / "error.log").read_text(errors="replace")


def debian_script(name: str) -> str:
    """Return the path of a console script of the environment of Debian's Python, or skip the test:
    that is the Python in Debian's mod_wsgi.
    """
    where = ["/usr/bin/python3", str(ROOT / "scripts" / "bootstrap.py"), "where", "debian"]
    found = subprocess.run(where, capture_output=True, text=True, check=False)
    path = (ROOT / found.stdout.strip()).with_name(name)
    if found.returncode or not path.exists():
        pytest.skip(f"no {name} of Debian's Python: `make test-servers` as root installs it")
    return str(path)


def _named_modules(text: str) -> list[str]:
    found = re.search(r"needs the modules\n# ([a-z0-9_ ]+)\.$", text, re.MULTILINE)
    assert found is not None, text
    return found[1].split()


def _load(names: t.Iterable[str]) -> str:
    wanted = {*names, *_ALWAYS}
    if "ssl" in wanted:
        wanted.add("socache_shmcb")
    ordered = [*(name for name in _FIRST if name in wanted), *sorted(wanted - {*_FIRST})]
    return "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in ordered)


# ------------------------------------------------------------------------------------ how-to guides


class ReaderWithApache(guides.Reader):
    """Lets Apache listen on a free port in place of 8080, and carboy find the port of the guide."""

    def __init__(self, page: str, folder: pathlib.Path) -> None:
        super().__init__(guides.DOCS / "howto" / page, folder)
        self.apache_port = spawning.free_port()
        self.env |= {"CARBOY_SERVE_PORT": str(self.port), "PWD": str(folder)}
        self.env["PATH"] += f"{os.pathsep}/usr/sbin"

    def _here(self, text: str) -> str:
        return super()._here(text).replace("127.0.0.1:8080", f"127.0.0.1:{self.apache_port}")


def follow_guide(page: str, folder: pathlib.Path, *, scripts: str | None = None) -> None:
    """Do what a guide says, in a folder; Apache is stopped if the guide has not done so.

    Args:
        page: the name of the how-to.
        folder: an empty folder, which Apache may read.
        scripts: the folder of the console scripts to use; by default of this environment.
    """
    needs_apache()
    reader = ReaderWithApache(page, folder)
    if scripts is not None:
        reader.env["PATH"] = f"{scripts}{os.pathsep}{reader.env['PATH']}"
    try:
        reader.follow()
    finally:
        pid = folder / "apache.pid"
        if pid.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid.read_text()), signal.SIGTERM)
        reader.close()
