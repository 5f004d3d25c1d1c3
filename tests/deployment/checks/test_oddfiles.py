"""Files that are no ordinary text files do not disturb the checks that look at files."""

from __future__ import annotations

import os
import pathlib

import pytest

from carboy import Carboy
from carboy.deployment.checks.checkregistry import run_checks
from carboy.deployment.facts import Facts
from carboy.serving.settings import make_settings

NAMES = (
    ".dockerignore",
    ".env",
    "Dockerfile",
    "MLmodel",
    "Procfile",
    "SHA256SUMS",
    "a.pkl",
    "b.sh",
)


def codes_in(root: pathlib.Path) -> set[str]:
    app = Carboy(__name__, root_path=str(root))
    facts = Facts(app, None, str(root), make_settings({}, {}))
    return {each.code for each in run_checks(facts, deploy=True).shown}


def write_text(path: pathlib.Path) -> None:
    path.write_text("")


def write_bytes(path: pathlib.Path) -> None:
    path.write_bytes(b"\x80\xff\0" * 100)


def write_long_line(path: pathlib.Path) -> None:
    path.write_text("ENV chmod flask - python " * 20_000)


def link_to_nothing(path: pathlib.Path) -> None:
    path.symlink_to("nothing")


def link_to_itself(path: pathlib.Path) -> None:
    path.symlink_to(path)


def make_folder(path: pathlib.Path) -> None:
    path.mkdir()


def make_pipe(path: pathlib.Path) -> None:
    os.mkfifo(path)  # whoever opens it waits for a writer


@pytest.mark.parametrize(
    "make",
    [
        write_text,
        write_bytes,
        write_long_line,
        link_to_nothing,
        link_to_itself,
        make_folder,
        make_pipe,
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="Windows has no pipes in folders")
def test_odd_files_are_passed_over(tmp_path, make):
    before = codes_in(tmp_path)
    (tmp_path / "static").mkdir()
    for name in NAMES:
        make(tmp_path / name)
    assert codes_in(tmp_path) - before <= {"carboy.W107"}


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes on POSIX only")
def test_name_that_is_not_utf8_or_has_a_line_break_is_shown_in_one_line(tmp_path):
    name = os.fsencode(tmp_path) + b"/a\xff\nb.pkl"
    with open(name, "wb") as file:
        file.write(b"\x80\x04.")
    app = Carboy(__name__, root_path=str(tmp_path))
    facts = Facts(app, None, str(tmp_path), make_settings({}, {}))
    found = run_checks(facts, deploy=True).shown
    (place,) = [each.place for each in found if each.code == "carboy.W107"]
    assert place.endswith("a\\udcff\\nb.pkl")
    "".join(map(str, found)).encode()
