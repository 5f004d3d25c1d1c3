"""Several servers of one app behind a web server, whose configuration `carboy NAME` has written."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import typing as t
from collections import Counter

import deployedapp
import spawning
import website

_APP = """
import os

from carboy import Carboy

app = Carboy(__name__)


@app.get("/")
def process():
    return str(os.getppid())
"""


def check_several_servers(
    name: str, folder: pathlib.Path, start: website.Start, *options: str
) -> None:
    """Assert that two servers share the requests, and that one answers all after the other one has
    ended.

    Args:
        name: the command that writes the configuration.
        folder: an empty folder.
        start: starts the web server.
        options: further options of the command.
    """
    (folder / "shop.py").write_text(_APP)
    with website.shared_folder() as shared, contextlib.ExitStack() as stack:
        project = pathlib.Path(shutil.copytree(folder, shared / "shop"))
        port = spawning.free_port()
        binds = [f"unix:{shared}/1.sock", f"127.0.0.1:{spawning.free_port()}"]
        upstreams = [part for bind in binds for part in ("--upstream", bind)]
        listen = ("--listen", f"127.0.0.1:{port}")
        file = website.generate(name, project, *upstreams, *listen, *options)
        apps = [website.serve_app(project, bind) for bind in binds]
        for app in apps:
            stack.callback(app.stop)
        own = shared / name
        own.mkdir()
        stack.callback(start(website.Ports(port, 0), own, file).stop)
        first, second = (str(app.pid) for app in apps)
        assert Counter(_answers(port, 8)) == {(200, first): 4, (200, second): 4}
        apps[0].stop()
        assert {*_answers(port, 8)} == {(200, second)}


def _answers(port: int, number: int) -> t.Iterator[tuple[int, str]]:
    for _ in range(number):
        with contextlib.closing(deployedapp.connect(f"http://127.0.0.1:{port}")) as connection:
            connection.request("GET", "/")
            response = connection.getresponse()
            yield response.status, response.read().decode()
