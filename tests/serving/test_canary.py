"""The secret key appears nowhere in what a server writes: a key that is easy to recognise is
searched for in responses, logs and command lines, while everything fails.

What a program itself sends (`return app.secret_key`) or prints is not masked, and not tested.
"""

from __future__ import annotations

import http.client
import os
import pathlib
import re
import signal
import subprocess
import textwrap
import typing as t

import polling
import pytest
import spawning

SIGN = "c4n4ry"
KEY = SIGN + "0123456789abcdef" * 3

PROGRAM = """
import copy, json, logging, pprint, threading
from carboy import Carboy, Response, render_template_string, request, session, url_for

app = Carboy(__name__)
app.config.from_project()
KEY = app.config["SECRET_KEY"]


@app.get("/local-variable")
def local_variable():
    key = KEY
    return 1 / 0


@app.get("/text")
def text():
    raise ValueError(f"the key {KEY} is wrong")


@app.get("/arguments")
def arguments():
    raise KeyError(KEY, {"key": KEY}, KEY.encode())


@app.get("/cause")
def cause():
    try:
        raise OSError(KEY)
    except OSError as exc:
        raise RuntimeError("hidden") from exc


@app.get("/note")
def note():
    exc = ValueError("noted")
    exc.add_note(f"with {KEY}")
    raise exc


@app.get("/group")
def group():
    raise ExceptionGroup("several", [ValueError(KEY), TypeError(KEY)])


@app.get("/config-in-error")
def config_in_error():
    raise ValueError(app.config, dict(app.config))


@app.get("/printed-config")
def printed_config():
    config = app.config
    texts = [str(config), f"{config} {config!r}", "%s" % config, pprint.pformat(config)]
    texts += map(repr, [config, config.copy(), copy.copy(config), copy.deepcopy(config)])
    return "\\n".join(texts)


@app.get("/template")
def template():
    return render_template_string("{{ config }} {{ config|string }} {{ config|pprint }}")


@app.get("/failing-template")
def failing_template():
    return render_template_string("{{ (config.SECRET_KEY ~ 1) / 2 }}")


@app.get("/logged")
def logged():
    app.logger.warning("config %s, key %s, %r", app.config, KEY, dict(app.config))
    app.logger.error("the arguments do not fit: %d", KEY)
    app.logger.error(json.dumps({"key": KEY}), extra={"key": KEY, "error": OSError(KEY)})
    logging.getLogger("another").error(KEY) if app.config["LOG_FILE"] else None
    return "logged"


@app.get("/environ")
def environ():
    return repr(dict(request.environ))


@app.get("/config-as-json")
def config_as_json():
    return app.config


@app.get("/thread")
def thread():
    def fail():
        raise ValueError(KEY)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    return "ended"


@app.get("/stream")
def stream():
    def items():
        yield "a"
        raise ValueError(KEY)

    return Response(items())


@app.get("/wrong-tuple")
def wrong_tuple():
    return (KEY, KEY, KEY, KEY)


@app.get("/wrong-object")
def wrong_object():
    class Wrong:
        def __repr__(self):
            return KEY

    return Wrong()


@app.get("/wrong-header")
def wrong_header():
    return Response("x", headers={"X-Key": KEY + "\\n"})


@app.get("/exit")
def exit_view():
    raise SystemExit(KEY)


@app.get("/wrong-session")
def wrong_session():
    session["key"] = {1, KEY}, object()
    return "x"


@app.get("/wrong-endpoint")
def wrong_endpoint():
    return url_for(KEY)


@app.get("/typed")
def typed(n: int) -> int:
    return {"key": KEY, "bytes": KEY.encode()}


@app.get("/after-request")
def after_request():
    return "x"


@app.get("/teardown")
def teardown():
    return "x"


@app.after_request
def fail_after(response):
    if request.path == "/after-request":
        raise ValueError(KEY)
    return response


@app.teardown_request
def fail_in_teardown(exc):
    if request.path == "/teardown":
        raise ValueError(KEY)


@app.model("/failing-model")
class Failing:
    def predict(self, x: int) -> int:
        raise ValueError(KEY)


@app.model("/wrong-model")
class Wrong:
    def predict(self, x: int) -> int:
        return KEY


@app.model("/failing-stream")
class FailingStream:
    def predict(self, x: int):
        yield 1
        raise ValueError(KEY)
"""
PATHS = re.findall(r'^@app.get\("(.*?)"\)', PROGRAM, re.MULTILINE)
MODELS = re.findall(r'^@app.model\("(.*?)"\)', PROGRAM, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "shop.py").write_text(PROGRAM)
    return tmp_path


def start(folder: pathlib.Path, *args: str, env: t.Mapping[str, str]) -> spawning.Program:
    port = spawning.free_port()
    return spawning.start(
        [spawning.script("carboy"), "--app", "shop:app", *args, "--port", str(port)],
        log=folder / "program.log",
        port=port,
        cwd=folder,
        env=env,
    )


def ask(program: spawning.Program, method: str, path: str, accept: str) -> str:
    """Return all that a server sends; a response may be cut or missing."""
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=30)
    headers = {"Accept": accept, "Content-Type": "application/json"}
    try:
        connection.request(method, path, '{"x": 1}' if method == "POST" else None, headers)
        response = connection.getresponse()
        text = f"{response.status} {response.headers}"
        try:
            return text + response.read().decode()
        except http.client.IncompleteRead as exc:
            return text + exc.partial.decode()
    except (http.client.HTTPException, OSError) as exc:
        return repr(exc)
    finally:
        connection.close()


def ask_for_everything(program: spawning.Program) -> dict[str, str]:
    requests = [("GET", path) for path in (*PATHS, *MODELS, "/openapi.json", "/none")]
    requests += [("POST", path) for path in MODELS]
    # A client that knows the key sends it.
    requests += [("GET", f"/{KEY}"), ("GET", f"/environ?key={KEY}"), ("POST", f"/text?{KEY}")]
    return {
        f"{method} {path} {accept}": ask(program, method, path, accept)
        for method, path in requests
        for accept in ("text/html", "application/json")
    }


def command_lines(program: spawning.Program) -> dict[int, str]:
    """Return the command lines of a program and its children, which `ps` shows to everybody."""
    found = {}
    for each in pathlib.Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                if os.getsid(int(each.name)) == program.process.pid:
                    found[int(each.name)] = (each / "cmdline").read_text()
            except (OSError, ProcessLookupError):
                continue  # it has ended
    return found


class Server(t.NamedTuple):
    """A way to start a server, and where it gets the key and writes its log."""

    args: tuple[str, ...]
    env: dict[str, str]
    processes: int = 1


GIVEN = {"SECRET_KEY": KEY}
SERVERS = {
    "serve": Server(("serve", "--workers", "2"), GIVEN, 3),
    "serve-json": Server(
        ("serve", "--workers", "1"), {**GIVEN, "LOG_FILE": "app.log", "LOG_FORMAT": "json"}, 2
    ),
    "run": Server(("run",), {}),  # with the key in `.env`
    "debug": Server(("--debug", "run", "--no-reload"), GIVEN),
}


@pytest.mark.parametrize("server", SERVERS)
def test_key_is_not_in_what_a_server_writes(folder: pathlib.Path, server: str) -> None:
    args, env, processes = SERVERS[server]
    if "SECRET_KEY" not in env:
        (folder / ".env").write_text(f"SECRET_KEY={KEY}\n")
    program = start(folder, *args, env=env)
    try:
        program.wait_until_it_listens()
        if processes > 1:
            program.wait_until_it_prints("serving shop:app")
        answers = ask_for_everything(program)
        lines = command_lines(program)
        if server == "serve":
            crash(program, next(pid for pid in lines if pid != program.process.pid))
    finally:
        program.stop()
    written = program.output.splitlines()
    for log in folder.glob("app.log*"):
        written += log.read_text().splitlines()
    assert sum(answer.startswith("500") for answer in answers.values()) > 30
    assert sum("********" in line for line in written) > 30
    leaks = [name for name, answer in answers.items() if SIGN in answer and SIGN not in name]
    assert leaks == []
    assert [line for line in written if SIGN in line] == []
    assert len(lines) >= processes
    assert [line for line in lines.values() if SIGN in line] == []


def crash(program: spawning.Program, pid: int) -> None:
    """Let a worker write the stacks of its threads, and die with a crash dump.

    Its threads must sleep: faulthandler, which writes the stacks without the GIL, may crash on the
    frames of a thread that runs.
    """
    polling.wait_until(lambda: spawning.is_asleep(pid))
    os.kill(pid, signal.SIGQUIT)
    program.wait_until_it_prints("Current thread")
    os.kill(pid, signal.SIGABRT)
    polling.wait_until(lambda: program.output.count("is ready") == 3)


# --- programs that do not start -------------------------------------------------------------------

BEGIN = "import os\nfrom carboy import Carboy\napp = Carboy(__name__)\n"
LOAD = "app.config.from_project()\nKEY = app.secret_key\n"
MODEL = """
@app.model("/m")
class M:
    def __init__(self):
        raise ValueError(KEY)

    def predict(self, x: int) -> int: ...
"""
BROKEN: dict[str, tuple[str, dict[str, str]]] = {
    "import": (f"{BEGIN}{LOAD}raise ValueError(KEY)", {}),
    "import-error": (f"{BEGIN}{LOAD}raise ImportError(KEY)", {}),
    "exit": (f"{BEGIN}{LOAD}raise SystemExit(KEY)", {}),
    "before-config": (f"{BEGIN}raise ValueError(os.environ['SECRET_KEY'])", {}),
    "literal": (f"{BEGIN}app.config['SECRET_KEY'] = '{KEY}' + 1", {}),
    "literal-syntax": (f"{BEGIN}app.secret_key = '{KEY}", {}),
    "not-an-app": (f"{BEGIN}{LOAD}app = KEY", {}),
    "factory": (f"{BEGIN}{LOAD}del app\ndef create_app():\n    return KEY", {}),
    "dotenv-syntax": (BEGIN + LOAD, {".env": f"SECRET_KEY='{KEY}\n"}),
    "toml-syntax": (BEGIN + LOAD, {"config.toml": f"SECRET_KEY = '{KEY}\n"}),
    "toml-type": (BEGIN + LOAD, {"config.toml": f"SECRET_KEY = ['{KEY}']\n"}),
    "config-syntax": (BEGIN + LOAD, {"config.py": f"SECRET_KEY = '{KEY}\n"}),
    "config-error": (BEGIN + LOAD, {"config.py": f"SECRET_KEY = '{KEY}'\n1 / 0\n"}),
    "both-ways": (BEGIN + LOAD, {".env": "SECRET_KEY_FILE=key\n", "key": KEY}),
    "fallbacks": (BEGIN + LOAD, {".env": f"SECRET_KEY_FALLBACKS=[{KEY}\n"}),
    "model": (
        f"{BEGIN}{LOAD}{MODEL}",
        {},
    ),
}
# Problems of files that contain the key; in the other programs the environment has it.
IN_FILES = {"toml-type", "toml-syntax", "dotenv-syntax", "config-syntax", "config-error"}


@pytest.mark.parametrize("name", BROKEN)
def test_key_is_not_in_the_report_of_a_program_that_does_not_start(
    tmp_path: pathlib.Path, name: str
) -> None:
    source, files = BROKEN[name]
    (tmp_path / "shop.py").write_text(textwrap.dedent(source))
    for path, text in files.items():
        (tmp_path / path).write_text(text)
    done = subprocess.run(
        [spawning.script("carboy"), "--app", "shop:app", "serve", "--workers", "1", "--port", "0"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **({} if name in IN_FILES else {"SECRET_KEY": KEY})},
        timeout=50,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode != 0, output
    assert "shop" in output or ".env" in output or "config." in output, output
    assert [line for line in output.splitlines() if SIGN in line] == []


@pytest.mark.parametrize(
    "args",
    [
        ("models", "predict", "failing-model", "inputs.jsonl"),
        ("models", "predict", "broken-model", "inputs.jsonl"),
        ("config",),
        ("config", "--json"),
        ("openapi",),
        ("routes",),
        ("fail",),
    ],
    ids=" ".join,
)
def test_key_is_not_in_the_output_of_commands(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    with (folder / "shop.py").open("a") as file:
        file.write(
            '@app.model("/broken-model")\n'
            "class Broken:\n"
            "    def __init__(self):\n"
            "        raise ValueError(KEY)\n\n"
            "    def predict(self, x: int) -> int: ...\n\n\n"
            "@app.cli.command()\n"
            "def fail():\n"
            "    raise ValueError(KEY)\n"
        )
    (folder / "inputs.jsonl").write_text('{"x": 1}\n')
    done = subprocess.run(
        [spawning.script("carboy"), "--app", "shop:app", *args],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "SECRET_KEY": KEY},
        timeout=50,
        check=False,
    )
    output = done.stdout + done.stderr
    assert ("********" in output) is (args[0] not in {"openapi", "routes"}), output
    assert [line for line in output.splitlines() if SIGN in line] == []
