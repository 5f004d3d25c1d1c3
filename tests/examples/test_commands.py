"""The commands of the documentation run as written, in the folder of a project with an app.

A block of commands begins with ```sh. Servers are started, answer the commands that follow, and end
cleanly. Other addresses and folders than those of the page are used: free ports, and a temporary
folder in place of /run/shop and of /etc/letsencrypt.
"""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import typing as t

import guides
import numpy as np
import pytest
import spawning
from authority import Authority

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PAGES = [guides.ROOT / "README.md", *sorted(guides.DOCS.rglob("*.md"))]
_PORT = re.compile(r"(?<=:)(?:443|5000|8000|9000)\b|(?<=--port )8000\b")
# What serves until it is told to stop, also with variables before it.
_SERVER = re.compile(r"^(?:[A-Z_]+=\S+ )*carboy\b.* (?:serve|run|gunicorn)\b")
# What a server prints when it can be asked, by a word of its command.
_READY = {"run": "Running on", "gunicorn": "Listening at", "serve": "serving "}


def cases() -> list[t.Any]:
    return [
        pytest.param(block, id=f"{page.stem}-{block.line}")
        for page in PAGES
        for block in guides.blocks(page)
        if block.language == "sh" and not guides.is_listed(page, block)
    ]


class Project:
    """A folder with an app, in which the commands of a block run."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder / "shop"
        shutil.copytree(guides.EXAMPLES / "shop", self.folder)
        shutil.copy(self.folder / "shop.py", self.folder / "app.py")
        np.save(self.folder / "photo.npy", np.zeros((3, 4, 5), "float32"))
        (self.folder / "speech.wav").write_bytes(b"RIFF")
        (self.folder / "requirements.txt").write_text("")
        self.run = folder / "run"
        self.run.mkdir()
        certificates = folder / "certificates"
        certificates.mkdir()
        issued = Authority(certificates).issue("shop.example")
        self.paths = {
            "/run/shop/": f"{self.run}/",
            "/run/user/1000/": f"{self.run}/",
            "/etc/letsencrypt/live/shop.example/fullchain.pem": str(issued.cert),
            "/etc/letsencrypt/live/shop.example/privkey.pem": str(issued.key),
        }
        self.ports: dict[str, int] = {}
        self.env = {
            **os.environ,
            "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"],
            "XDG_RUNTIME_DIR": str(self.run),
            "SECRET_KEY": "a key for trying the commands of the documentation",
            "CARBOY_SERVE_WORKERS": "1",
            "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{self.port('8000')}",
        }
        self.server: spawning.Program | None = None

    def port(self, written: str) -> int:
        return self.ports.setdefault(written, spawning.free_port())

    def follow(self, block: guides.Block) -> None:
        commands = re.sub(r"\\\n", " ", block.text).splitlines()
        if commands[0].startswith("curl "):  # the page has a server already
            control = "/run/shop/control.sock"
            named = ["--control", control] if control in block.text else []
            app = "with_models:app" if "localhost:8000" in block.text else "shop:app"
            self.serve(self.here(shlex.join(["carboy", "serve", app, *named])))
        for command in map(self.here, commands):
            if _SERVER.match(command):
                self.serve(command)
            elif command.strip():
                self.obey(command)

    def here(self, command: str) -> str:
        for written, used in self.paths.items():
            command = command.replace(written, used)
        return _PORT.sub(lambda found: str(self.port(found[0])), command)

    def serve(self, command: str) -> None:
        words = shlex.split(command, comments=True)
        variables = [word for word in words if re.match(r"[A-Z_]+=", word)]
        program = words[len(variables) :]
        self.close()  # the next server of a page takes the place of the previous one
        ready = next(_READY[word] for word in _READY if word in program)
        if "--port" not in program and "--bind" not in program and "gunicorn" not in program:
            program += ["--port", str(self.port("8000"))]
        self.server = spawning.start(
            program,
            log=self.folder / "server.log",
            port=self.port("8000"),
            cwd=self.folder,
            env={**self.env, **dict(word.split("=", 1) for word in variables)},
        )
        self.server.wait_until_it_prints(ready, within_s=100)

    def obey(self, command: str) -> None:
        """Run a command, which must succeed; `export` holds for those after it."""
        shell = f"set -eo pipefail\n{command}\nenv -0 > {self.run}/env"
        done = subprocess.run(
            ["/bin/bash", "-c", shell],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        found = (self.run / "env").read_text().split("\0")
        self.env.update(each.split("=", 1) for each in found if "=" in each)

    def close(self) -> None:
        if self.server is not None:
            server, self.server = self.server, None
            # The reloader of `carboy run` ends by the signal.
            assert server.stop() in {0, -signal.SIGTERM}, server.output


@pytest.fixture
def project(tmp_path: pathlib.Path) -> t.Iterator[Project]:
    project = Project(tmp_path)
    yield project
    project.close()


@pytest.mark.parametrize("block", cases())
def test_commands_run_as_written(block: guides.Block, project: Project):
    project.follow(block)
