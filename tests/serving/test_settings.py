"""Where, with how many, and how much: from options, environment and machine."""

from __future__ import annotations

import os

import pytest

from carboy.errors import AddressError, ServingError
from carboy.serving import settings
from carboy.serving.settings import Settings, format_size, make_settings, parse_size


@pytest.mark.parametrize(
    ("options", "environ", "expected"),
    [
        pytest.param({}, {}, {"host": "127.0.0.1", "port": 8000}, id="defaults"),
        pytest.param({}, {"PORT": "80"}, {"host": "0.0.0.0", "port": 80}, id="platform"),
        pytest.param({}, {"HOST": "127.0.0.2"}, {"host": "127.0.0.2", "port": 8000}, id="HOST"),
        pytest.param({}, {"HOST": "127.0.0.2", "PORT": "1"}, {"host": "127.0.0.2"}, id="both"),
        pytest.param({"port": 5}, {"PORT": "1"}, {"host": "127.0.0.1", "port": 5}, id="option"),
        pytest.param({"host": "::1"}, {"PORT": "1"}, {"host": "::1", "port": 1}, id="host option"),
        pytest.param({"port": 0}, {}, {"port": 0}, id="any port"),
        pytest.param({}, {"WEB_CONCURRENCY": "3"}, {"workers": 3}, id="WEB_CONCURRENCY"),
        pytest.param({"workers": 2}, {"WEB_CONCURRENCY": "3"}, {"workers": 2}, id="workers"),
        pytest.param({"max_body": "1M"}, {}, {"max_body_bytes": 2**20}, id="body"),
        pytest.param({"max_body": 0}, {}, {"max_body_bytes": None}, id="no limit"),
        pytest.param({"host": "localhost"}, {}, {"host": "127.0.0.1"}, id="IPv4 before IPv6"),
    ],
)
def test_option_beats_environment_beats_default(options, environ, expected):
    made = make_settings(**options, environ=environ).as_dict()
    assert {name: made[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("options", "environ", "words"),
    [
        ({}, {"PORT": "eighty"}, "PORT is 'eighty'; expected a whole number"),
        ({}, {"PORT": "70000"}, r"70000 \(from the environment variable PORT\)"),
        ({}, {"HOST": "no.invalid"}, r"'no\.invalid' \(from the environment variable HOST\)"),
        ({"host": "x" * 70 + ".invalid"}, {}, "has no address"),
        ({"threads": 0}, {}, "0 threads"),
        ({"max_body": "big"}, {}, "'big' is no size"),
    ],
)
def test_unusable_value_is_named_with_its_source(options, environ, words):
    with pytest.raises(ServingError, match=words):
        make_settings(**options, environ=environ)


def test_unusable_address_is_an_address_error():
    with pytest.raises(AddressError):
        make_settings(port=-1, environ={})


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("64M", 64 * 2**20),
        ("64MiB", 64 * 2**20),
        ("1.5 g", 3 * 2**29),
        ("10kb", 10 * 2**10),
        ("7", 7),
        (7, 7),
        ("0", None),
    ],
)
def test_size_is_parsed(text, size_bytes):
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(None, "any size"), (5, "5 bytes"), (1500, "1500 bytes"), (2**20, "1 MiB"), (2**31, "2 GiB")],
)
def test_size_is_written(size_bytes, text):
    assert format_size(size_bytes) == text


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        pytest.param({}, None, id="no cgroups"),
        pytest.param({"cpu.max": "max 100000"}, None, id="no quota"),
        pytest.param({"cpu.max": "150000 100000"}, 1.5, id="v2"),
        pytest.param(
            {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5, id="v1"
        ),
        pytest.param(
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            None,
            id="v1 none",
        ),
    ],
)
def test_quota_of_a_container_is_read(tmp_path, files, cpus):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert settings._cgroup_cpus(str(tmp_path)) == cpus


@pytest.mark.parametrize(
    ("affinity", "quota", "workers"), [(4, None, 4), (4, 1.5, 2), (4, 0.2, 1), (64, None, 8)]
)
def test_workers_follow_the_cpus_one_may_use(monkeypatch, affinity, quota, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)))
    monkeypatch.setattr(settings, "_cgroup_cpus", lambda: quota)
    assert settings.default_workers() == workers


def test_url_has_brackets_where_they_belong():
    assert Settings(host="::1", port=1).url == "http://[::1]:1"
