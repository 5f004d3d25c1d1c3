"""`make run`: install, train and serve the digits example. `make run PORT=5001` for another port.

What fails soon fails first: the port is checked before anything is installed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import bootstrap

HOST = "127.0.0.1"
EXAMPLE = bootstrap.ROOT / "examples" / "digits"


def main() -> None:
    port = read_port(os.environ.get("PORT") or "5000")
    refuse_taken(port)
    bootstrap.project("example")
    bin_folder = bootstrap.VENV / "bin"
    bootstrap.say("training examples/digits on scikit-learn's handwritten digits")
    done = subprocess.run([bin_folder / "python", EXAMPLE / "train.py"], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    bootstrap.say(f"starting the server; open http://{HOST}:{port}/ when it says that it serves")
    os.chdir(bootstrap.ROOT)
    options = ["--host", HOST, "--port", str(port)]
    command = os.fspath(bin_folder / "carboy")
    os.execv(command, [command, "serve", "examples/digits/app.py", *options])  # noqa: S606


def read_port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise SystemExit(f"carboy: PORT={text} is no port. Write, for example: make run PORT=5001")
    return int(text)


def refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            other = port + 1 if port < 65535 else port - 1
            raise SystemExit(
                f"carboy: cannot serve at port {port} ({error.strerror}). Choose another port: make"
                f" run PORT={other}"
            ) from None


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    main()
