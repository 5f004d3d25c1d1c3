"""Settings of the server from arguments, environment and defaults."""

from __future__ import annotations

import dataclasses
import os

import pytest
from click.testing import CliRunner

from carboy.errors import AddressError, ServingError
from carboy.serving import machine
from carboy.serving.declaration import Given
from carboy.serving.http.limits import Limits
from carboy.serving.process.command import serve_command
from carboy.serving.settings import (
    SETTINGS,
    Settings,
    as_option,
    make_settings,
    problems_of_variables,
    unknown_variables,
)

# A valid value of each setting that is not its default: as text, and as read.
OTHERS = {
    "on": ("ray", "ray"),
    "ray_address": ("10.0.0.5:6379", "10.0.0.5:6379"),
    "ray_namespace": ("shop-blue", "shop-blue"),
    "ray_code": ("upload", "upload"),
    "ray_allow_plaintext": ("yes", True),
    "ray_allow_dashboard": ("yes", True),
    "host": ("127.0.0.2", "127.0.0.2"),
    "port": ("81", 81),
    "bind": ("[::1]:81, unix:/run/app.sock", ("[::1]:81", "unix:/run/app.sock")),
    "socket_mode": ("0600", "600"),
    "tls_cert": ("/etc/tls/cert.pem", "/etc/tls/cert.pem"),
    "tls_key": ("/etc/tls/key.pem", "/etc/tls/key.pem"),
    "tls_password_file": ("/etc/tls/password", "/etc/tls/password"),
    "tls_client_ca": ("/etc/tls/ca.pem", "/etc/tls/ca.pem"),
    "workers": ("9", 9),
    "memory_limit_bytes": ("1.5G", 3 * 2**29),
    "threads": ("3", 3),
    "proxy": ("10.0.0.0/8, ::1", "10.0.0.0/8,::1"),
    "proxy_headers": ("Forwarded", "forwarded"),
    "max_body_bytes": ("1M", 2**20),
    "max_held_bodies_bytes": ("1.5G", 3 * 2**29),
    "max_held_responses_bytes": ("2M", 2**21),
    "max_head_bytes": ("128K", 2**17),
    "max_headers": ("50", 50),
    "head_timeout_s": ("5", 5.0),
    "body_timeout_s": ("0.5", 0.5),
    "stall_timeout_s": ("7", 7.0),
    "keep_alive_s": ("0", 0.0),
    "linger_s": (".25", 0.25),
    "connections": ("64", 64),
    "backlog": ("10", 10),
    "max_websockets": ("8", 8),
    "websocket_idle_s": ("9", 9.0),
    "access_log": ("JSON", "json"),
    "access_log_query": ("yes", True),
    "metrics": ("no", False),
    "tracing": ("yes", True),
    "worker_timeout_s": ("90", 90.0),
    "view_timeout_s": ("30", 30.0),
    "max_requests": ("10000", 10000),
    "max_rss_bytes": ("1.5G", 3 * 2**29),
    "drain_s": ("5", 5.0),
    "grace_s": ("1.5", 1.5),
    "control": ("/run/shop.sock", "/run/shop.sock"),
    "management": ("9000", "127.0.0.1:9000"),
    "probes": ("yes", True),
    "min_models": ("2", 2),
}
# Arguments without which another one is refused, because it would have no effect.
NEEDED = {
    "proxy_headers": {"proxy": 1},
    "socket_mode": {"bind": "unix:/run/app.sock"},
    "tls_key": {"tls_cert": "cert.pem"},
    "tls_password_file": {"tls_cert": "cert.pem"},
    "tls_client_ca": {"tls_cert": "cert.pem"},
    "ray_address": {"on": "ray"},
    "ray_namespace": {"on": "ray"},
    "ray_code": {"on": "ray"},
    "ray_allow_plaintext": {"on": "ray"},
    "ray_allow_dashboard": {"on": "ray"},
}


# ------------------------------------------------------------------------ where values are from


def test_setting_that_is_switched_off_needs_no_other_one():
    assert not make_settings({"access_log": "off", "access_log_query": "no"}, {}).access_log_query
    assert not make_settings({"ray_allow_plaintext": "no"}, {}).ray_allow_plaintext
    assert make_settings({"access_log_query": "yes"}, {}).access_log_query


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.field)
def test_each_setting_is_read_from_argument_environment_and_default(setting):
    text, value = OTHERS[setting.field]
    argument, variable = setting.argument, setting.variables[0]
    needed = NEEDED.get(setting.field, {})

    def read(arguments, environ):
        return getattr(make_settings({**needed, **arguments}, environ), setting.field)

    default = read({}, {})
    assert default != value
    assert read({argument: value}, {}) == value
    assert read({argument: text}, {}) == value
    assert read({}, {variable: text}) == value
    assert read({argument: value}, {variable: "not valid"}) == value
    assert read({argument: None}, {variable: ""}) == default


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        pytest.param({}, {}, {"host": "127.0.0.1", "port": 8000}, id="defaults"),
        pytest.param({}, {"PORT": "80"}, {"host": "0.0.0.0", "port": 80}, id="platform"),
        pytest.param(
            {}, {"HOST": "x86_64-conda-linux-gnu"}, {"host": "127.0.0.1"}, id="HOST of conda"
        ),
        pytest.param(
            {}, {"CARBOY_SERVE_HOST": "127.0.0.2", "PORT": "1"}, {"host": "127.0.0.2"}, id="host"
        ),
        pytest.param({"port": 5}, {"PORT": "1"}, {"host": "127.0.0.1", "port": 5}, id="argument"),
        pytest.param(
            {"host": "::1"}, {"PORT": "1"}, {"host": "::1", "port": 1}, id="host argument"
        ),
        pytest.param(
            {},
            {"CARBOY_SERVE_PORT": "5", "FLASK_SERVE_PORT": "6", "PORT": "1"},
            {"host": "127.0.0.1", "port": 5},
            id="CARBOY before FLASK before platform",
        ),
        pytest.param({}, {"FLASK_SERVE_PORT": "6", "PORT": "1"}, {"port": 6}, id="FLASK"),
        pytest.param({"port": 0}, {}, {"port": 0}, id="any free port"),
        pytest.param({}, {"WEB_CONCURRENCY": "3"}, {"workers": 3}, id="WEB_CONCURRENCY"),
        pytest.param({"workers": 0}, {"WEB_CONCURRENCY": "3"}, {"workers": 0}, id="0 is a value"),
        pytest.param({}, {}, {"workers": None}, id="number of workers is left to the server"),
        pytest.param({"max_body": 0}, {}, {"max_body_bytes": None}, id="no limit"),
        pytest.param({"host": "localhost"}, {}, {"host": "127.0.0.1"}, id="IPv4 before IPv6"),
        pytest.param({}, {"CARBOY_PROXY": "1"}, {"proxy": "1"}, id="short variable"),
        pytest.param(
            {},
            {"CARBOY_PROXY": "1", "FLASK_SERVE_PROXY": "2", "CARBOY_SERVE_PROXY": "3"},
            {"proxy": "3"},
            id="long variable before short one",
        ),
        pytest.param({"proxy": 0}, {"CARBOY_PROXY": "1"}, {"proxy": "0"}, id="no proxies"),
        pytest.param({"proxy": ["::1", "10.0.0.1"]}, {}, {"proxy": "::1,10.0.0.1"}, id="list"),
        pytest.param({"proxy": "2001:DB8:0::/32"}, {}, {"proxy": "2001:db8::/32"}, id="network"),
        pytest.param({"proxy": "10.0.0.1/32"}, {}, {"proxy": "10.0.0.1"}, id="network of one"),
        pytest.param({"proxy": " 32 "}, {}, {"proxy": "32"}, id="most proxies"),
        pytest.param(
            {"proxy": 1, "proxy_headers": "X-Forwarded-Proto, For"},
            {},
            {"proxy_headers": "for,proto"},
            id="header names",
        ),
        pytest.param(
            {"proxy": 1, "proxy_headers": "forwarded,prefix"},
            {},
            {"proxy_headers": "prefix,forwarded"},
            id="Forwarded and prefix",
        ),
    ],
)
def test_argument_beats_environment_beats_default(arguments, environ, expected):
    made = make_settings(arguments, environ).as_dict()
    assert {name: made[name] for name in expected} == expected


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.field)
def test_each_setting_has_an_option_with_its_help(setting):
    (option,) = (param for param in serve_command.params if param.name == setting.argument)
    assert setting.option in option.opts
    shown = " ".join(CliRunner().invoke(serve_command, ["--help"]).output.split())
    assert " ".join(setting.help.split()) in shown


def test_names_of_released_settings_are_kept():
    names = {setting.field: (setting.option, setting.variables[0]) for setting in SETTINGS}
    assert names["max_body_bytes"] == ("--max-body", "CARBOY_SERVE_MAX_BODY")
    assert names["grace_s"] == ("--grace", "CARBOY_SERVE_GRACE_S")
    assert {setting.short for setting in SETTINGS} == {"", "-h", "-p", "-b", "-w", "-t"}


# ----------------------------------------------------------------------------- wrong values

#: What systemd sets if it passes a socket.
SYSTEMD = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        pytest.param(
            {},
            {"PORT": "eighty"},
            "Setting 'port': expected a whole number from 0 to 65535, got 'eighty' from the"
            " environment variable PORT. Correct it (a .env file may set it), or unset it. The"
            " default is 8000.",
            id="variable",
        ),
        pytest.param(
            {"threads": 0},
            {},
            "Setting 'threads': expected a whole number, at least 1, got 0 from the argument"
            " threads of app.serve(). Correct it, or leave it out. The default is 16.",
            id="argument",
        ),
        pytest.param({}, {"CARBOY_SERVE_PORT": "70000"}, "'70000' from the", id="port too high"),
        pytest.param({"port": -1}, {}, "got -1", id="port below 0"),
        pytest.param({"port": True}, {}, "got True", id="no number"),
        pytest.param({"port": 80.5}, {}, "got 80.5", id="no whole number"),
        pytest.param({"host": "no.invalid"}, {}, "'no.invalid' (", id="host without an address"),
        pytest.param({"workers": 0.5}, {}, "a whole number, at least 0, got 0.5", id="half"),
        pytest.param({"max_requests": -1}, {}, "a whole number, or 0 for no", id="requests"),
        pytest.param({"max_rss": "1GX"}, {}, "a size such as 500M or 1.5G", id="memory"),
        pytest.param({"host": "x" * 70 + ".invalid"}, {}, "xxx.invalid' (", id="host too long"),
        pytest.param({"control": "/" + "x" * 200}, {}, "a socket's path at most", id="long path"),
        pytest.param({"control": ""}, {}, "a path for a Unix socket", id="no path"),
        pytest.param({"management": "127.0.0.1"}, {}, "an address of this machine with", id="bare"),
        pytest.param({"management": "no.invalid:9"}, {}, "'no.invalid:9' (", id="no address"),
        pytest.param({"management": ":70000"}, {}, "got ':70000'", id="port of management"),
        pytest.param({"min_models": -1}, {}, "a whole number, at least 0, got -1", id="models"),
        pytest.param({"max_body": "big"}, {}, "a size such as 500K, 64M", id="size"),
        pytest.param({"max_held_bodies": 0}, {}, "a size such as 64K", id="size of 0"),
        pytest.param({"max_head": "1000"}, {}, "a size of at least 1K", id="size too small"),
        pytest.param({"grace_s": "nan"}, {}, "a number of seconds", id="not a number"),
        pytest.param({"grace_s": "-1"}, {}, "at least 0", id="negative seconds"),
        pytest.param({"head_timeout_s": 0}, {}, "at least 0.001", id="timeout of 0"),
        *(
            pytest.param({"proxy": text}, {}, f"got {text!r} ({reason}", id=f"proxy {text}")
            for text, reason in [
                ("nginx", "'nginx' is not an address) from the argument proxy of app.serve()"),
                ("*", "'*' is not an address"),
                (True, "'True' is not an address"),
                ("10.0.0.1,", "an address is empty"),
                ("10.0.0.1/8", "10.0.0.1 is not the first address of the network 10.0.0.0/8"),
                ("10.0.0.1:80", "'10.0.0.1:80' does not appear to be"),
                ("fe80::1%eth0", "'fe80::1%eth0' is not an address"),
                ("::ffff:10.0.0.1", "write ::ffff:10.0.0.1 as an address of IPv4"),
                ("127.0.0.1/33", "'127.0.0.1/33' does not appear to be"),
            ]
        ),
        pytest.param({"proxy": 33}, {}, "the number of proxies", id="too many proxies"),
        pytest.param({"proxy": -1}, {}, "the number of proxies", id="negative proxies"),
        pytest.param(
            {}, {"CARBOY_PROXY": "x"}, "from the environment variable CARBOY_PROXY", id="variable"
        ),
        pytest.param(
            {"proxy": 1, "proxy_headers": "fro"}, {}, "'fro' is none of these", id="header name"
        ),
        pytest.param({"proxy": 1, "proxy_headers": ","}, {}, "'' is none of", id="no header"),
        pytest.param(
            {"proxy": 1, "proxy_headers": "forwarded,for"},
            {},
            "forwarded contains the address, scheme and host itself",
            id="contradicting headers",
        ),
        pytest.param(
            {"proxy_headers": "for"},
            {},
            "'proxy_headers' has no effect without the setting 'proxy'",
            id="headers without proxy",
        ),
        pytest.param(
            {"access_log": "off", "access_log_query": True},
            {},
            "'access_log_query' has no effect without the setting 'access_log'. Set 'access_log' to"
            " auto, text or json",
            id="query without access log",
        ),
        pytest.param(
            {"backlog": 99999999999},
            {},
            "expected a whole number from 1 to 2147483647",
            id="backlog of no system",
        ),
        pytest.param(
            {"proxy": 0}, {"CARBOY_PROXY_HEADERS": "for"}, "no effect", id="headers of no proxy"
        ),
        pytest.param({"bind": "8000"}, {}, "'8000' is not an address", id="port alone"),
        pytest.param({"bind": ["[::1]:1", ""]}, {}, "an address is empty", id="empty address"),
        pytest.param(
            {"bind": ["localhost:1", "127.0.0.1:1"]}, {}, "127.0.0.1:1 is named twice", id="twice"
        ),
        pytest.param({"bind": "no.invalid:1"}, {}, "'no.invalid:1' (", id="unknown host"),
        pytest.param(
            {"bind": "unix:/" + "x" * 200}, {}, "has 201 bytes, but the system", id="path too long"
        ),
        pytest.param(
            {"bind": "127.0.0.1:1", "port": 2},
            {},
            "Setting 'port' from the argument port of app.serve() has no effect beside the setting"
            " 'bind'",
            id="port beside bind",
        ),
        pytest.param(
            {"bind": "127.0.0.1:1"},
            {"CARBOY_SERVE_HOST": "0.0.0.0"},
            "Setting 'host' from the environment variable CARBOY_SERVE_HOST has no effect",
            id="host beside bind",
        ),
        pytest.param(
            {"port": 2},
            SYSTEMD,
            "has no effect because systemd passes the sockets",
            id="port beside passed sockets",
        ),
        pytest.param(
            {},
            {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"},
            "LISTEN_FDS must be the number of sockets that systemd passes, but it is 'many'",
            id="wrong number of passed sockets",
        ),
        pytest.param(
            {"socket_mode": "600"}, {}, "the server creates no Unix socket", id="mode of nothing"
        ),
        *(
            pytest.param(
                {"bind": "unix:/run/app.sock", "socket_mode": mode},
                {},
                "permissions as for chmod, such as 660 or 666",
                id=f"mode {mode}",
            )
            for mode in ["rw", "999", "66", "444", 0o660]
        ),
        pytest.param(
            {"tls_key": "key.pem"},
            {},
            "Setting 'tls_key' has no effect without the setting 'tls_cert'. Set 'tls_cert' to the"
            " file of the certificate, or leave out 'tls_key'.",
            id="key without certificate",
        ),
        pytest.param({"tls_cert": ""}, {}, "the path of a file", id="certificate without a name"),
        pytest.param(
            {"workers": 0, "memory_limit": "1G"},
            {},
            "'memory_limit' has no effect without workers",
            id="memory limit without workers",
        ),
        *(
            pytest.param(
                {"workers": 0, name: value},
                {},
                f"Setting {name!r} has no effect without workers: ",
                id=f"{name} without workers",
            )
            for name, value in {
                "max_requests": 5,
                "max_rss": "1G",
                "view_timeout_s": 3,
                "worker_timeout_s": 30,
                "min_models": 1,
                "control": "s",
                "management": "127.0.0.1:9000",
                "metrics": "yes",
            }.items()
        ),
        pytest.param(
            {"workers": 0},
            {"CARBOY_SERVE_MIN_MODELS": "2"},
            "nobody answers /readyz, unless 'probes' lets the port of the app do so. Leave it out,",
            id="min_models without workers from a variable",
        ),
        pytest.param(
            {"workers": 0, "min_models": 1, "probes": "no"},
            {},
            "Setting 'min_models' has no effect without workers: ",
            id="min_models without workers and probes",
        ),
        *(
            pytest.param(
                arguments,
                {**SYSTEMD, **environ},
                f"Setting 'backlog' from {source} has no effect because systemd passes the sockets"
                " to listen on (LISTEN_FDS). Set Backlog= in the .socket unit, and leave out"
                " 'backlog'.",
                id=f"backlog of passed sockets from {source}",
            )
            for arguments, environ, source in [
                ({"backlog": 10}, {}, "the argument backlog of app.serve()"),
                (
                    {},
                    {"CARBOY_SERVE_BACKLOG": "10"},
                    "the environment variable CARBOY_SERVE_BACKLOG",
                ),
            ]
        ),
        pytest.param(
            {"memory_limit": "half"}, {}, "a size such as 512M or 2G, or 0", id="memory limit"
        ),
        pytest.param(
            {"workers": "0.5"}, {}, "a whole number, at least 0, got '0.5'", id="half a worker"
        ),
    ],
)
def test_wrong_value_is_refused_with_its_source(arguments, environ, words):
    with pytest.raises(ServingError) as caught:
        make_settings(arguments, environ)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        ({"workers": 0, "worker_timeout_s": 0, "min_models": 0}, {}),
        ({"workers": 0, "min_models": 1, "probes": "yes"}, {}),
        ({"workers": 1, "worker_timeout_s": 30, "min_models": 1}, {}),
        ({"backlog": 10}, {}),
        ({"backlog": 10, "bind": "127.0.0.1:1"}, SYSTEMD),  # one more than those of systemd
    ],
)
def test_value_that_has_an_effect_is_taken(arguments, environ):
    settings = make_settings(arguments, environ)
    given = {name: getattr(settings, name) for name in arguments if name not in ("bind", "probes")}
    assert given == {name: value for name, value in arguments.items() if name in given}


def test_changed_values_are_those_that_are_not_the_default():
    assert Settings().changed() == {}
    assert Settings(workers=2, worker_timeout_s=30.0, port=1).changed() == {"workers": 2, "port": 1}


def test_wrong_option_is_named_as_it_was_typed():
    with pytest.raises(ServingError, match=r"from the option --max-body\. Correct it, or leave"):
        make_settings({"max_body": "big"}, {}, describe=as_option)


@pytest.mark.parametrize("arguments", [{"port": -1}, {"host": "no.invalid"}])
def test_wrong_address_is_an_address_error(arguments):
    with pytest.raises(AddressError):
        make_settings(arguments, {})


def test_more_connections_than_open_files_are_refused(monkeypatch):
    monkeypatch.setattr(machine, "affordable_connections", lambda: 768)
    with pytest.raises(ServingError, match=r"got 5000 \(the hard limit of open files"):
        make_settings({"connections": 5000}, {})
    assert make_settings({"connections": 768}, {}).connections == 768
    assert make_settings({}, {}).connections == 768


def test_unknown_argument_is_refused_with_the_closest_name():
    with pytest.raises(TypeError, match=r"no argument 'prot'\. Did you mean 'port'"):
        make_settings({"prot": 80}, {})


def test_unknown_variable_is_warned_of_with_the_closest_name():
    environ = {"CARBOY_SERVE_TREADS": "4", "CARBOY_SERVE_THREADS": "4", "CARBOY_APP": "shop"}
    (warning,) = unknown_variables(environ)
    assert "CARBOY_SERVE_TREADS has no effect" in warning
    assert "Did you mean 'CARBOY_SERVE_THREADS'" in warning


@pytest.mark.parametrize(
    ("environ", "problems"),
    [
        ({"CARBOY_SERVE_WORKERS": "2", "CARBOY_PROXY": "1", "CARBOY_SERVE_PORT": "80"}, []),
        (
            {"CARBOY_SERVE_WORKERS": "many", "PORT": "http", "CARBOY_SERVE_TREADS": "4"},
            [
                "CARBOY_SERVE_TREADS has no effect",
                "variable PORT.",
                "variable CARBOY_SERVE_WORKERS.",
            ],
        ),
        ({"CARBOY_PROXY_HEADERS": "for"}, ["'proxy_headers' has no effect without"]),
    ],
)
def test_all_problems_of_variables_are_found(environ, problems):
    found = problems_of_variables(environ)
    assert len(found) == len(problems)
    for text, part in zip(found, problems, strict=True):
        assert part in text


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.field)
def test_documented_default_is_the_default(setting):
    if not setting.computed:
        given = Given(setting.default_text, "the documentation")
        assert setting.parse(given) == setting.default


# ------------------------------------------------------------------------------- their use


def test_each_limit_of_http_comes_from_its_own_setting():
    default, set_by = dataclasses.asdict(Limits()), {}
    for field, (_, value) in OTHERS.items():
        limits = dataclasses.asdict(Settings(**{field: value}).http_limits())
        changed = [name for name in limits if limits[name] != default[name]]
        set_by.update(dict.fromkeys(changed, field))
        assert len(changed) <= 1
    assert len(set_by) == len(dataclasses.fields(Limits)) - len(NOT_SETTINGS)
    assert not NOT_SETTINGS & set(set_by)


# Limits that no user has a reason to change.
NOT_SETTINGS = {
    "body_s_per_mb",
    "buffered_body_bytes",
    "chunked_body_s",
    "discarded_body_bytes",
    "joined_response_bytes",
    "pipelined_requests",
}


def test_urls_are_those_of_all_addresses():
    settings = make_settings({"bind": ["unix:/run/a", "[::1]:2", "127.0.0.1:1"]}, {})
    assert settings.urls == ["unix:/run/a", "http://[::1]:2", "http://127.0.0.1:1"]
    assert settings.url == "http://[::1]:2"
    assert Settings(bind=("unix:/run/a",)).url == ""
    assert Settings(tls_cert="/cert.pem").url == "https://127.0.0.1:8000"


def test_bind_is_chosen_by_the_user_before_the_port_of_a_platform():
    settings = make_settings({"bind": "127.0.0.1:1"}, {"PORT": "80"})
    assert settings.urls == ["http://127.0.0.1:1"]


def test_url_has_brackets_around_an_ipv6_address():
    assert Settings(host="::1", port=1).url == "http://[::1]:1"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9000", "127.0.0.1:9000"),
        (":9000", "127.0.0.1:9000"),
        ("0.0.0.0:9000", "0.0.0.0:9000"),
        ("[::1]:9000", "[::1]:9000"),
        ("127.0.0.1:0", "127.0.0.1:0"),
    ],
)
def test_address_of_the_management_is_read(text, address):
    assert make_settings({"management": text}, {}).management == address
