"""The addresses on which the debugger is allowed, and the options of `carboy run`."""

from __future__ import annotations

import socket
import ssl
import sys
import types

import click
import pytest
from click.testing import CliRunner

from carboy import Carboy
from carboy.cli import FlaskGroup, run_command, show_server_banner
from carboy.cli.development import refuse_exposed_debugger, run_development
from carboy.core.advice import port_in_use
from carboy.core.reachability import exposed_address
from carboy.errors import AddressError, DebuggerExposedError

HERE = __file__
LAN = "192.168.7.7"


@pytest.fixture
def served(monkeypatch):
    """Record the calls of Werkzeug's server, which does not start."""
    calls = []
    monkeypatch.setattr(
        "werkzeug.serving.run_simple", lambda *args, **options: calls.append((args, options))
    )
    return calls


@pytest.fixture
def names(monkeypatch):
    """Resolve some host names without a network."""
    known = {"pc.local": [LAN], "both.local": ["127.0.0.1", LAN], "me.local": ["127.0.0.1"]}
    real = socket.getaddrinfo

    def resolve(host, *args, **options):
        if host.endswith(".invalid"):
            raise socket.gaierror(-2, "Name or service not known")
        if host not in known:
            return real(host, *args, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1.2.3", "::1", "localhost", "me.local", "::ffff:127.0.0.1", "unix:///x"],
)
def test_loopback_address_is_not_exposed(names, host):
    assert exposed_address(host) is None


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", LAN, "pc.local", "both.local", "::ffff:192.168.7.7", "fe80::1"]
)
def test_debugger_is_refused_on_an_exposed_address(names, host):
    with pytest.raises(DebuggerExposedError) as caught:
        refuse_exposed_debugger(host)
    for word in (repr(host), "127.0.0.1", "use_debugger=True", "carboy serve"):
        assert word in str(caught.value)


def test_debugger_on_an_unknown_host_is_an_address_error(names):
    with pytest.raises(AddressError, match=r"'no\.invalid' has no address"):
        refuse_exposed_debugger("no.invalid")


def test_app_run_refuses_an_exposed_debugger_that_the_program_asks_for(app, served, names):
    with pytest.raises(DebuggerExposedError):
        app.run(host="0.0.0.0", debug=True, use_debugger=True, load_dotenv=False)
    assert not served


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "pc.local"])
@pytest.mark.parametrize("command", ["run", "app.run"])
def test_debug_mode_on_an_exposed_address_starts_without_the_debugger(
    app, served, names, capsys, host, command
):
    if command == "run":
        run = FlaskGroup(create_app=lambda: app)
        run.main(["--debug", "run", "--port", "0", "--host", host], standalone_mode=False)
    else:
        app.run(host=host, debug=True, port=0, load_dotenv=False)
    options = served[0][1]
    assert (options["use_reloader"], options["use_debugger"], app.debug) == (True, False, True)
    warning = capsys.readouterr().err
    assert warning.count("without the interactive debugger") == 1
    for word in (repr(host), "anybody there could run code here", "127.0.0.1", "printed here"):
        assert word in warning


def test_debug_mode_on_loopback_starts_the_debugger_and_says_nothing(app, served, capsys):
    app.run(debug=True, port=0, load_dotenv=False)
    assert served[0][1]["use_debugger"] is True
    assert "debugger" not in capsys.readouterr().err


def test_reloaders_child_does_not_repeat_the_warnings(app, served, monkeypatch, capsys):
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    for host in ("0.0.0.0", "127.0.0.1"):
        app.run(host=host, debug=True, port=0, load_dotenv=False)
    assert [options["use_debugger"] for _, options in served] == [False, True]
    assert not capsys.readouterr().err


@pytest.mark.parametrize("is_child", [False, True])
def test_environment_of_a_project_is_shown_once(served, tmp_path, monkeypatch, capsys, is_child):
    monkeypatch.setenv("FLASK_ENV", "production")
    if is_child:
        monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
    (tmp_path / "config.toml").write_text("[development]\nDEBUG = true\n")
    app = Carboy("shop", root_path=str(tmp_path))
    app.config.from_project()
    app.run(debug=True, port=0, load_dotenv=False)
    line = " * Environment: production (FLASK_ENV selects another: development)\n"
    assert capsys.readouterr().out.count(line) == (0 if is_child else 1)


@pytest.mark.parametrize(
    ("variable", "host", "says"),
    [
        pytest.param("KUBERNETES_SERVICE_HOST", "127.0.0.1", True, id="loopback"),
        pytest.param("KUBERNETES_SERVICE_HOST", "0.0.0.0", False, id="all addresses"),
        pytest.param("CODESPACES", "127.0.0.1", False, id="forwarded by an editor"),
    ],
)
def test_loopback_in_a_container_is_said_to_be_out_of_reach(
    app, served, monkeypatch, capsys, variable, host, says
):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv(variable, "10.0.0.1")
    app.run(host=host, port=0, load_dotenv=False)
    assert ("nobody outside of it can reach" in capsys.readouterr().err) is says


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        pytest.param([], {"use_debugger": False, "use_reloader": False}, id="plain"),
        pytest.param(["--debug"], {"use_debugger": True, "use_reloader": True}, id="debug"),
        pytest.param(["--debug", "--no-reload"], {"use_reloader": False}, id="no reload"),
        pytest.param(["--debugger"], {"use_debugger": True}, id="debugger alone"),
        pytest.param(["--without-threads"], {"threaded": False}, id="no threads"),
        pytest.param(["--extra-files", f"{HERE}:{HERE}"], {"extra_files": [HERE] * 2}, id="files"),
    ],
)
def test_options_are_passed_to_werkzeug(served, monkeypatch, args, expected):
    for name in ("FLASK_DEBUG", "CARBOY_DEBUG"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "0")  # so that monkeypatch restores what the command sets
    group = FlaskGroup(create_app=lambda: Carboy("x"))
    result = CliRunner().invoke(group, ["run", "--port", "0", *args])
    assert result.exit_code == 0, result.output
    (host, port, _), options = served[0]
    assert (host, port) == ("127.0.0.1", 0)
    assert expected.items() <= options.items()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        pytest.param(["--debugger", "--host", "0.0.0.0"], "without '--debugger'", id="exposed"),
        pytest.param(["--debugger", "--host", "no.invalid"], "has no address", id="unknown host"),
        pytest.param(["--port", "70000"], "70000", id="port out of range"),
    ],
)
def test_invalid_address_is_a_usage_error(served, names, args, words):
    group = FlaskGroup(create_app=lambda: Carboy("x"))
    result = CliRunner().invoke(group, ["run", *args])
    assert result.exit_code == 2
    assert words in result.output
    assert not served


@pytest.mark.parametrize(
    ("args", "cert"),
    [
        pytest.param(["--cert", HERE, "--key", HERE], (HERE, HERE), id="cert first"),
        pytest.param(["--key", HERE, "--cert", HERE], (HERE, HERE), id="key first"),
        pytest.param(["--cert", "adhoc"], "adhoc", id="adhoc"),
    ],
)
def test_certificate_and_key_are_read_in_any_order(monkeypatch, args, cert):
    monkeypatch.setitem(sys.modules, "cryptography", types.ModuleType("cryptography"))
    assert run_command.make_context("run", args).params["cert"] == cert


def test_certificate_may_be_the_import_path_of_a_context(monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    monkeypatch.setitem(sys.modules, "my_tls", types.SimpleNamespace(context=context))
    params = run_command.make_context("run", ["--cert", "my_tls:context"]).params
    assert params["cert"] is context


@pytest.mark.parametrize(
    ("args", "words"),
    [
        pytest.param(["--cert", HERE], "needs its '--key'", id="no key"),
        pytest.param(["--key", HERE], "'--key' needs its certificate", id="no cert"),
        pytest.param(["--cert", "adhoc", "--key", HERE], "has its key already", id="adhoc and key"),
        pytest.param(["--cert", "absent.pem"], "absent.pem", id="no such file"),
    ],
)
def test_incomplete_certificate_is_refused(monkeypatch, args, words):
    monkeypatch.setitem(sys.modules, "cryptography", types.ModuleType("cryptography"))
    with pytest.raises(click.BadParameter, match=words):
        run_command.make_context("run", args)


@pytest.mark.parametrize(
    ("missing", "words"), [("cryptography", "pip install cryptography"), ("ssl", "without SSL")]
)
def test_missing_library_for_certificates_is_named(monkeypatch, missing, words):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(click.BadParameter, match=words):
        run_command.make_context("run", ["--cert", "adhoc"])


def test_banner_is_not_printed_in_the_reloaders_child(monkeypatch, capsys):
    show_server_banner(debug=True, app_import_path="shop")
    assert "shop" in capsys.readouterr().out
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
    show_server_banner(debug=True, app_import_path="shop")
    assert not capsys.readouterr().out


def test_reloaders_child_serves_the_error_of_an_app_that_fails_to_load(served, monkeypatch):
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")

    def create():
        raise ValueError("half written")

    result = CliRunner().invoke(FlaskGroup(create_app=create), ["run"])
    assert "half written" in result.output
    (_, _, app), _ = served[0]
    with pytest.raises(ValueError, match="half written"):
        app({}, lambda *_: None)


@pytest.mark.parametrize("command", ["run", "app.run"])
def test_port_in_use_is_named_with_the_way_to_find_its_program(command, served, capsys):
    app = Carboy("shop")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SystemExit) as caught:
            if command == "run":
                run = FlaskGroup(create_app=lambda: app)
                run.main(["run", "--port", str(port)], standalone_mode=False)
            else:
                app.run(port=port)
    assert served == []
    assert caught.value.code == f"Error: Cannot listen on 127.0.0.1: {port_in_use(port)}"


def test_advice_on_a_port_names_command_and_both_ways_to_choose(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert port_in_use(5000) == (
        "port 5000 is in use by another program. Find it with 'ss -ltnp sport = :5000' and stop it,"
        " or choose another port: --port 5001 on the command line, port=5001 in the program."
    )
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "'lsof -nP -iTCP:65535 -sTCP:LISTEN'" in port_in_use(65535)
    assert "AirPlay Receiver" in port_in_use(5000)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ACCESS_DEFAULT", "keys"),
        ("ACCESS_KEYS", "phone"),
        ("ACCESS_RATE", "many"),
        ("ACCESS_RATE", "3/minute by user"),
        ("CORS_POLICY", "shop"),
        ("STRICT_HEADERS", "yes"),
    ],
)
def test_configuration_of_access_that_is_not_valid_ends_the_start(served, capsys, key, value):
    app = Carboy(__name__)
    app.config[key] = value
    with pytest.raises(SystemExit) as ended:
        run_development(app, "127.0.0.1", 0)
    assert (ended.value.code, served) == (2, [])
    assert key in capsys.readouterr().err
