"""Requests of other projects' tests: what those call valid or invalid, and what the server does.

http_corpora.toml lists the differences, each with its reason. `make unit` fetches the projects.
"""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
from stage import Stage

HERE = pathlib.Path(__file__).parent
CORPORA = HERE.parent.parent / ".cache" / "corpora"
LISTED = tomllib.loads((HERE / "http_corpora.toml").read_text())
# At least so many requests, so that a new release cannot empty a corpus unnoticed.
SIZES = {"gunicorn": 130, "h11": 15, "waitress": 40}


def collect(name):
    folder = CORPORA / name / "source"
    if not folder.is_dir():
        pytest.skip(f"the source of {name} is not there: `make unit` fetches it")
    command = [sys.executable, str(HERE / "collect_requests.py"), name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    return [
        (case, with_host(raw.encode("latin-1")), ok) for case, raw, ok in json.loads(done.stdout)
    ]


def with_host(raw):
    """Most tests leave the Host header out, without which every request of HTTP/1.1 is a 400."""
    head = raw.partition(b"\r\n\r\n")[0]
    if re.search(rb"(?i)\nhost[ \t]*:", head):
        return raw
    return re.sub(rb"\A((?:\r\n)?[^\r\n]+ HTTP/1\.1\r\n)", rb"\1Host: localhost\r\n", raw)


def is_accepted(raw):
    """Whether all requests that a client sends, before it sends no more, are answered with 200."""

    def app(environ, start_response):
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"ok"]

    with Stage() as stage:
        stage.serve(app)
        client = stage.connect()
        client.send(raw)
        client.send_no_more()
        statuses = re.findall(rb"HTTP/1\.1 (\d+)", client.see_end())
    return bool(statuses) and set(statuses) <= {b"200", b"100"}


@pytest.mark.parametrize("name", SIZES)
def test_requests_of_other_projects_are_accepted_or_refused_as_there(name):
    cases = collect(name)
    assert len(cases) >= SIZES[name]
    differs = {case: not valid for case, raw, valid in cases if is_accepted(raw) is not valid}
    listed = {
        case: difference["accepted"] for difference in LISTED[name] for case in difference["cases"]
    }
    assert differs == listed


def test_each_difference_has_a_reason_and_is_listed_once():
    for differences in LISTED.values():
        assert all(difference["reason"] for difference in differences)
        cases = [case for difference in differences for case in difference["cases"]]
        assert len(cases) == len(set(cases))
