"""The image of what `carboy docker` writes: built by a real builder, run as Docker runs it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import urllib.error
import urllib.request

import containers
import deployedapp
import pytest
from imageprojects import CANARY, KEY
from polling import PATIENCE_S, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]


def test_answers_on_the_published_port_are_those_of_carboy_serve(running, reference):
    answers = deployedapp.ask_all(running.url)
    differing = deployedapp.differences(reference, answers)
    # What the app tells of the client's address, which is another one in a container.
    assert containers.ADDRESS in answers["header with a list"].body
    assert differing.keys() == {"header with a list"}


def test_session_is_signed_by_the_key_in_the_environment(running):
    from carboy import Carboy

    request = urllib.request.Request(f"{running.url}/login", b"name=Ada", method="POST")
    opener = urllib.request.build_opener(_NoRedirect)
    with pytest.raises(urllib.error.HTTPError) as info:
        opener.open(request, timeout=PATIENCE_S)
    info.value.close()
    cookie = info.value.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    reader = Carboy("reader")
    reader.secret_key = KEY
    serializer = reader.session_interface.get_signing_serializer(reader)
    assert serializer.loads(cookie) == {"name": "Ada"}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def test_processes_run_without_rights(running):
    process = pathlib.Path(f"/proc/{running.pid}")
    status = (process / "status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert fields["Uid"].split() == ["1000"] * 4
    assert fields["Gid"].split() == ["1000"] * 4
    assert int(fields["CapEff"], 16) == 0
    # The command of the image is process 1 itself: no shell stands between Docker and the server.
    assert fields["NSpid"].split()[-1] == "1"
    command = (process / "cmdline").read_text().split("\0")
    assert "/venv/bin/carboy" in command


def test_code_and_packages_cannot_be_changed_by_the_app_even_on_a_writable_root(digits):
    found = ["find", digits.root / "srv", digits.root / "venv", "!", "-type", "l"]
    changeable = ["(", "!", "-user", "0", "-o", "-perm", "/022", ")"]
    done = subprocess.run(
        [*found, *changeable, "-printf", "/%P\\n"], capture_output=True, text=True, check=True
    )
    assert [f"/srv{path}" for path in done.stdout.split()] == list(digits.config["Volumes"])


def test_root_is_read_only_and_the_app_works(running):
    assert "Read-only file system" in running.execute("touch", "/srv/digits/x").output
    assert running.execute("touch", "/tmp/x").status == 0
    large = next(each for each in deployedapp.REQUESTS if each.name == "upload of 2 MiB")
    assert deployedapp.ask(running.url, large).status == 200


def test_app_answers_without_any_folder_to_write_in(digits, tmp_path):
    with containers.run(digits, tmp_path, environ={"SECRET_KEY": KEY}) as container:
        container.wait_until_it_answers()
        assert container.is_healthy()


def test_health_check_is_the_readiness_of_the_server(digits, running, tmp_path):
    wait_until(running.is_healthy, pause_s=0.2)
    # Not ready: it asks for one model more than the app has.
    with containers.run(
        digits, tmp_path, environ={"CARBOY_SERVE_MIN_MODELS": "2"}, tmpfs=["/tmp"]
    ) as container:
        container.wait_until_it_answers()
        assert not container.is_healthy()


def test_probes_are_not_reached_from_outside(digits, running):
    status = deployedapp.ask(running.url, deployedapp.Asked("", "GET", "/readyz")).status
    assert status == 404
    assert set(digits.config["ExposedPorts"]) == {"8000/tcp"}


def test_sigterm_ends_the_container_within_its_grace_and_no_request_is_lost(digits, tmp_path):
    with containers.run(digits, tmp_path, environ={"SECRET_KEY": KEY}, tmpfs=["/tmp"]) as container:
        container.wait_until_it_answers()
        with contextlib.closing(deployedapp.connect(container.url)) as connection:
            connection.request("GET", "/stream?until=/tmp/end")
            response = connection.getresponse()
            assert response.readline() == b"first\n"
            os.kill(container.pid, signal.SIGTERM)
            assert container.execute("touch", "/tmp/end").status == 0
            assert response.read() == b"second\n"
        status, took_s = container.wait()
    assert status == 0, container.output
    assert took_s < 31  # the drain and the grace; Docker's own limit is written to compose.yaml


def test_platform_chooses_the_port(digits, tmp_path):
    environ = {"SECRET_KEY": KEY, "PORT": "8123"}
    with containers.run(digits, tmp_path, environ=environ, port=8123) as container:
        container.wait_until_it_answers()


def test_no_layer_contains_a_secret(digits):
    assert CANARY not in containers.buildah("inspect", "--type", "image", digits.name)
    found = subprocess.run(
        ["grep", "-rlF", CANARY, str(digits.root)], capture_output=True, text=True, check=False
    )
    names = {path.name for path in (digits.root / "srv" / "digits").iterdir()}
    assert found.stdout == ""
    assert list((digits.root / "srv" / "digits" / "instance").iterdir()) == []
    assert {"app.py", "digits.npz", "static", "templates"} <= names
    assert not names & {
        ".env",
        ".env.production",
        ".git",
        "secrets",
        "tls.key",
        "wheels",
    }


def test_all_code_is_compiled(digits):
    for folder in ("srv", "venv/lib"):
        sources = list((digits.root / folder).rglob("*.py"))
        compiled = {path.name.split(".")[0] for path in (digits.root / folder).rglob("*.pyc")}
        assert sources
        assert {path.stem for path in sources} <= compiled


def test_versions_are_those_of_the_constraints_file(digits, digits_project):
    pins = dict(
        line.split("==")
        for line in (digits_project / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    )
    infos = [path.name for path in (digits.root / "venv/lib").rglob("*.dist-info")]
    found = {
        re.sub("[-_.]+", "-", name).lower(): version.removesuffix(".dist-info")
        for name, _, version in (info.partition("-") for info in infos)
    }
    assert found.pop("carboy")
    assert found == {name: pins[name] for name in found}
    assert {"numpy", "pillow"} <= found.keys()


def test_size_and_time_to_the_first_answer_are_printed(digits, tmp_path, capsys):
    with containers.run(digits, tmp_path, environ={"SECRET_KEY": KEY}, tmpfs=["/tmp"]) as container:
        start_s = container.wait_until_it_answers()
    with capsys.disabled():
        print(
            f"\nimage: {digits.size / 1e6:.0f} MB, of which {digits.own_size / 1e6:.0f} MB are the"
            f" app and its packages (carboy, NumPy, Pillow); first answer {start_s:.1f} s after the"
            " start"
        )
    assert digits.own_size < 200e6
