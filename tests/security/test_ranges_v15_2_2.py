"""Ranges: a Range header costs no more than the file, whatever it asks for.

ASVS 5.0: 15.2.2
Also tested in: tests/uploads/test_sending.py, tests/serving/http/test_sendfile.py
"""

from __future__ import annotations

import io
import tracemalloc

import pytest

from carboy import Carboy, send_file, uploads

SIZE = 3 * 2**20
CONTENT = b"0123456789abcdef" * (SIZE // 16)


@pytest.fixture
def client(tmp_path):
    static = tmp_path / "static"
    static.mkdir()
    (static / "a.bin").write_bytes(CONTENT)
    app = Carboy(__name__, static_folder=static, root_path=str(tmp_path))
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/memory")
    def memory():
        return send_file(io.BytesIO(CONTENT), mimetype="text/plain", conditional=True)

    (tmp_path / "stored").mkdir()
    app.add_url_rule("/stored/<name>", "stored", uploads.view("stored"))
    return app.test_client()


RANGES = [
    "bytes=" + "0-," * 5000 + "0-",
    "bytes=" + "0-0," * 5000 + "1-1",
    "bytes=" + ",".join(f"{i}-" for i in range(5000)),
    "bytes=0-99999999999999999999999999",
    "bytes=99999999999999999999999999-",
    "bytes=-99999999999999999999999999",
    "bytes=" + "9" * 5000 + "-",
    "bytes=5-1",
    "bytes=-0",
    "bytes=--1",
    "bytes=-",
    "bytes=",
    "bytes=a-b",
    "bytes=٣-٤",
    "bytes=0x1-0x2",
    "bytes=1_0-2_0",
    "bytes=+1-+2",
    "bytes= 1 - 2 ",
    "items=0-1",
    "bytes",
    "=",
    "",
]


@pytest.mark.parametrize("path", ["/static/a.bin", "/memory"])
@pytest.mark.parametrize("value", RANGES, ids=range(len(RANGES)))
def test_response_is_no_longer_than_the_file_and_has_one_part(client, path, value):
    tracemalloc.start()
    try:
        with client.get(path, headers={"Range": value}, buffered=False) as response:
            length = sum(len(each) for each in response.iter_encoded())
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert response.status_code in (200, 206, 416)
    assert length <= SIZE
    assert "multipart" not in response.content_type
    assert peak < 2 * SIZE
    if response.status_code == 206:
        start, end = response.headers["Content-Range"][6:].partition("/")[0].split("-")
        assert length == int(end) - int(start) + 1 == response.content_length


@pytest.mark.parametrize("value", ["bytes=0-0", "bytes=-16", f"bytes={SIZE - 16}-"])
def test_valid_range_is_sent(client, value):
    with client.get("/static/a.bin", headers={"Range": value}) as response:
        assert response.status_code == 206
        assert response.data in (b"0", b"0123456789abcdef")
