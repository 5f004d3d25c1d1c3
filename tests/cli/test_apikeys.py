"""`carboy keys`: make, list and revoke API keys."""

from __future__ import annotations

import json
import os
import pathlib
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from apikeys import make_key
from click.testing import Result
from clirunner import separate_runner

from carboy.access.apikey import ApiKey
from carboy.access.keyfile import changing
from carboy.access.keystore import KeyStore, listed_keys, read_keys
from carboy.access.keytext import PATTERN
from carboy.cli import cli
from carboy.cli.apikeys import keys_group

APP = """
from carboy import Carboy

app = Carboy(__name__)
print("printed by the app")

@app.model("/digits")
def digits(x: int) -> int:
    return x
"""


@pytest.fixture
def file(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "instance" / "access-keys.json")


def keys(*args: str, code: int = 0) -> Result:
    result = separate_runner().invoke(keys_group, args)
    assert result.exit_code == code, result.output
    return result


def test_key_that_is_made_is_found_until_it_is_revoked(file):
    key = keys("new", "phone", "--file", file).stdout.strip()
    store = KeyStore({}, file)
    assert store.find(key).name == "phone"
    assert key.rpartition("_")[2] not in pathlib.Path(file).read_text()
    keys("revoke", "phone", "--file", file)
    store.due_s = 0.0
    assert store.find(key) is None
    assert "revoked" in keys("list", "--file", file).output


def test_stdout_has_the_key_alone(file):
    assert re.fullmatch(PATTERN + "\n", keys("new", "phone", "--file", file).stdout)


def test_list_shows_what_each_key_may_do(file):
    keys("new", "all", "--file", file)
    options = ["--model", "b", "--model", "a", "--rate", "9/minute", "--expires", "2100-01-02"]
    keys("new", "some", "--file", file, *options)
    lines = [re.split(" {2,}", line) for line in keys("list", "--file", file).output.splitlines()]
    assert [line[:1] + line[2:] for line in lines if line[0] in ("Name", "all", "some")] == [
        ["Name", "Models", "Rate", "Expires", "State"],
        ["all", "all", "-", "never", "valid"],
        ["some", "a, b", "9/minute", "2100-01-02 00:00", "valid"],
    ]


@pytest.mark.parametrize(("text", "hours"), [("12h", 12), ("3d", 72), ("2w", 336)])
def test_key_may_expire_after_a_time(file, text, hours):
    keys("new", "a", "--file", file, "--expires", text)
    (key,) = read_keys(file).values()
    assert (key.expires - key.created).total_seconds() == hours * 3600
    assert abs(datetime.now(UTC) - key.created).total_seconds() < 60


def test_revocation_takes_a_name_or_an_id_and_the_name_can_be_used_again(file):
    for by in ("name", "id"):
        keys("new", "a", "--file", file)
        (valid,) = (key for key in read_keys(file).values() if key.revoked is None)
        keys("revoke", getattr(valid, by), "--file", file)
    assert [key.name for key in read_keys(file).values()] == ["a", "a"]


def test_print_writes_no_file_and_the_variable_has_the_key(file):
    result = keys("new", "a", "--print", "--model", "digits")
    name, value = re.fullmatch(r"(\w+)='(.*)'\n", result.stdout).groups()
    assert name == "CARBOY_ACCESS_KEYS"
    store = KeyStore(listed_keys(value, name), file)
    found = store.find(re.search(PATTERN, result.stderr)[0])
    assert found.models == {"digits"}
    assert not os.path.exists(file)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("new", "a b"), "'a b' cannot be the name of a key"),
        (("new", "a", "--expires", "2020-01-01"), "the time has passed already"),
        (
            ("new", "a", "--expires", "0d"),
            "--expires 0d: expected a date such as 2027-01-31, or 12h",
        ),
        (("new", "a", "--rate", "often"), "got 'often'"),
        (("new", "known"), "There is a key 'known' already. Choose another name"),
        (("new", "a", "--print"), "--print writes no file: leave out --file"),
        (("revoke", "nobody"), "There is no key 'nobody'"),
        (("revoke", "gone"), "The key 'gone' is revoked already"),
    ],
)
def test_wrong_use_is_refused_and_changes_nothing(file, args, message):
    keys("new", "known", "--file", file)
    keys("new", "gone", "--file", file)
    keys("revoke", "gone", "--file", file)
    before = pathlib.Path(file).read_bytes()
    assert message in keys(*args, "--file", file, code=2).stderr
    assert pathlib.Path(file).read_bytes() == before


def test_damaged_file_is_reported_and_left_alone(file):
    os.makedirs(os.path.dirname(file))
    pathlib.Path(file).write_text("{")
    os.chmod(file, 0o600)
    for args in (("new", "a"), ("list",), ("revoke", "a")):
        assert "is no JSON" in keys(*args, "--file", file, code=2).stderr
    assert pathlib.Path(file).read_text() == "{"


def test_revocation_creates_no_file(file):
    assert "There is no file of API keys" in keys("revoke", "a", "--file", file, code=2).stderr
    assert not os.path.exists(os.path.dirname(file))


def test_commands_that_run_at_once_lose_no_key(file):
    def add(key: ApiKey) -> None:
        with changing(file) as known:
            known[key.id] = key

    made = [make_key(f"key-{n}").stored for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, made))
    assert set(read_keys(file).values()) == set(made)


def test_file_is_that_of_the_app_and_models_must_exist(tmp_path, monkeypatch):
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)

    def run(*args: str, code: int = 0) -> Result:
        result = separate_runner().invoke(cli, ["--app", "app.py", "keys", *args])
        assert result.exit_code == code, result.output
        return result

    assert "There are no keys." in run("list").stdout
    wrong = run("new", "a", "--model", "digitz", code=2)
    assert "The app has no model 'digitz': its models are 'digits'." in wrong.stderr
    made = run("new", "a", "--model", "digits")
    assert re.fullmatch(PATTERN + "\n", made.stdout)  # and not what the app prints
    content = json.loads((tmp_path / "instance" / "access-keys.json").read_text())
    assert [key["models"] for key in content["keys"]] == [["digits"]]
