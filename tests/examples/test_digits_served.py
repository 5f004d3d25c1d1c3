"""The digits example on both servers, called by a real client."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json

import digits
import pytest
import requests

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture(params=["run", "serve"])
def server(request, serve_digits):
    return serve_digits(request.param)


def post(server, **arguments):
    return requests.post(f"{server.url}/digits", timeout=30, **arguments)


def memory_kib(pid: int) -> int:
    """Return the resident memory of a process and its children."""
    from pathlib import Path

    total = 0
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            total += int(line.split()[1])
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            children = (thread / "children").read_text().split()
            total += sum(memory_kib(int(child)) for child in children)
    return total


def test_digits_are_served(server):
    seven = digits.drawn(digits.SEVEN)
    ways = [digits.file(seven), digits.text(seven, "image/png"), {"json": digits.ZERO}]
    assert [post(server, **way).json()["digit"] for way in ways] == [7, 7, 0]
    assert "<h1>Which digit is it?</h1>" in requests.get(f"{server.url}/", timeout=30).text


def test_server_works_on_after_bad_input(server):
    assert post(server, json=digits.ZERO).json()["digit"] == 0
    for turn in range(2):
        for name, (arguments, status, says) in digits.BAD.items():
            answer = post(server, **arguments)
            assert (answer.status_code, says in answer.json()["detail"]) == (status, True), name
        if turn == 0:
            before = memory_kib(server.process.pid)
    assert post(server, json=digits.ZERO).json()["digit"] == 0
    grown = memory_kib(server.process.pid) - before
    assert grown < 40 * 1024, f"{grown} KiB more after the second round"
    assert "Traceback" not in server.output


def test_bad_input_does_not_disturb_other_requests(server):
    bad = [arguments for arguments, _, _ in digits.BAD.values() if "data" in arguments][:6]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        good = [pool.submit(post, server, json=digits.ZERO) for _ in range(12)]
        others = [pool.submit(post, server, **arguments) for arguments in bad]
        assert {json.loads(one.result().text)["digit"] for one in good} == {0}
        assert all(400 <= one.result().status_code < 500 for one in others)
