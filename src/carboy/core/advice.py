"""Sentences that advise users how to correct a mistake. Error messages of many modules end with
them.
"""

from __future__ import annotations

import os
import sys
import traceback
import typing as t


def of_relative_path(exc: FileNotFoundError, path: str) -> str:
    """Return advice on opening a file by a relative path while the process runs in another folder
    than the program's; "" if the path is absolute.
    """
    if os.path.isabs(path):
        return ""
    here = os.getcwd()
    text = f"The path is relative to the current folder, {here!r}."
    folders = {os.path.dirname(frame.filename) for frame in traceback.extract_tb(exc.__traceback__)}
    for folder in sorted(folders - {here}):
        if os.path.exists(os.path.join(folder, path)):
            return f"{text} It is in {folder!r}: write Path(__file__).parent / {path!r}."
    try:
        near = os.listdir(os.path.join(here, os.path.dirname(path)))
    except OSError:
        near = []
    prefix = os.path.join(os.path.dirname(path), "")
    return f"{text}{did_you_mean(os.path.basename(path), near, prefix=prefix)}"


def port_in_use(port: int) -> str:
    """Return advice for the error that another program already listens on a port."""
    other = port + 1 if port < 65535 else port - 1
    find, airplay = f"ss -ltnp sport = :{port}", ""
    if sys.platform == "darwin":
        find = f"lsof -nP -iTCP:{port} -sTCP:LISTEN"
        airplay = " On macOS it may be the AirPlay Receiver, which System Settings can switch off."
    elif sys.platform == "win32":
        find = f"netstat -ano | findstr :{port}"
    return (
        f"port {port} is in use by another program. Find it with '{find}' and stop it, or choose"
        f" another port: --port {other} on the command line, port={other} in the program.{airplay}"
    )


def did_you_mean(name: str, candidates: t.Iterable[str], *, prefix: str = "") -> str:
    """Return a sentence with the candidates that are most similar to a name; "" if none is
    similar.
    """
    import difflib

    names = sorted(set(candidates) - {name})
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    # Beside a name that differs by a letter or two, one that merely has letters in common is noise.
    similar = [difflib.SequenceMatcher(None, other, name).ratio() for other in near]
    near = [other for other, each in zip(near, similar, strict=True) if each > 0.7 * similar[0]]
    if not near and len(names) <= 3:
        near = names
    if not near:
        return ""
    return f" Did you mean {' or '.join(repr(prefix + other) for other in near)}?"
