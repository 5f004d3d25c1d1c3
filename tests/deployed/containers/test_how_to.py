"""The commands of docs/howto/docker.md do what it says, with the builder and the containers of
these tests in place of Docker.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import re
import shlex
import typing as t
import urllib.request

import containers
import guides
import pytest
from imageprojects import KEY

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

PAGE = guides.DOCS / "howto" / "docker.md"
# compose.yaml is run in test_compose.py; docs/howto/keys-and-secrets.md makes keys.
ELSEWHERE = ("carboy secret new", "docker compose ")


class Docker:
    """Does what the commands of the page tell Docker to do."""

    def __init__(self, project: pathlib.Path, folder: pathlib.Path) -> None:
        self.project = project
        self.folder = folder
        self.images: dict[str, containers.Image] = {}
        self.running: dict[str, containers.Container] = {}
        self.ending = contextlib.ExitStack()

    def obey(self, line: str) -> None:
        # Without what makes the key: SECRET_KEY=$(...) docker run ...
        _, program, rest = re.split(r"\b(docker|curl) ", line, maxsplit=1)
        words = shlex.split(rest)
        command = words.pop(0) if program == "docker" else program
        {"build": self._build, "run": self._run, "curl": self._curl, "stop": self._stop}[command](
            words
        )

    def _build(self, words: list[str]) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--tag")
        parser.add_argument("folder")
        given = parser.parse_args(words)
        self.images[given.tag] = containers.build(self.project / given.folder, given.tag)

    def _run(self, words: list[str]) -> None:
        parser = argparse.ArgumentParser()
        for flag in ("--detach", "--read-only"):
            parser.add_argument(flag, action="store_true")
        for option in ("--name", "--publish", "--env", "--tmpfs", "--volume"):
            parser.add_argument(option)
        parser.add_argument("image")
        given = parser.parse_args(words)
        assert given.env == "SECRET_KEY"
        folder = self.folder / f"run-{len(self.running)}"
        folder.mkdir()
        image = self.images[given.image]
        if given.volume:
            assert given.volume.split(":")[1] in image.config["Volumes"]
        container = self.ending.enter_context(
            containers.run(
                image,
                folder,
                environ={given.env: KEY},
                tmpfs=[given.tmpfs] if given.tmpfs else (),
                read_only=given.read_only,
                port=int(given.publish.split(":")[1]),
            )
        )
        container.wait_until_it_answers()
        self.running[given.name] = container

    def _curl(self, words: list[str]) -> None:
        (container,) = self.running.values()
        url = words[0].replace("http://127.0.0.1:8000", container.url)
        with urllib.request.urlopen(url, timeout=30) as response:
            assert response.status == 200

    def _stop(self, words: list[str]) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--time", type=int)
        parser.add_argument("name")
        given = parser.parse_args(words)
        status, took_s = self.running[given.name].stop()
        assert status == 0
        assert took_s < given.time


@pytest.fixture
def docker(tmp_path: pathlib.Path) -> t.Iterator[Docker]:
    reader = guides.Reader(PAGE, tmp_path)
    reader.follow()  # the blocks that need no Docker, which make the project
    docker = Docker(reader.folder, tmp_path)
    with docker.ending:
        yield docker


def test_commands_for_docker_work_as_written(docker):
    shell = [block for block in guides.blocks(PAGE) if block.language == "sh"]
    lines = [line for block in shell for line in block.text.splitlines()]
    obeyed = [line for line in lines if not line.startswith(ELSEWHERE)]
    assert obeyed
    for line in obeyed:
        docker.obey(line)
