"""Patch each attribute that Flask keeps in the `__dict__` of an object, and restore it.

Run as a program, this module does so on Flask, and prints the names of the attributes by object,
and those that even Flask cannot restore.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import typing as t
from unittest import mock


@contextlib.contextmanager
def objects(fw: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Yield the objects of a running program by name, some as the proxies that tests use."""
    contexts = importlib.import_module(f"{fw.__name__}.globals")
    app = fw.Flask("patched")
    app.secret_key = "key"
    with app.test_request_context("/?a=1", method="POST", data={"b": "2"}) as context:
        yield {
            "app": app,
            "blueprint": fw.Blueprint("b", "patched"),
            "client": app.test_client(),
            "command runner": app.test_cli_runner(),
            "config": app.config,
            "JSON provider": app.json,
            "session interface": app.session_interface,
            "response": fw.Response("text"),
            "response of make_response": app.make_response({"a": 1}),
            "app context": app.app_context(),
            "app_ctx": contexts.app_ctx,
            "request context": context,
            "request_ctx": contexts.request_ctx,
            "request": fw.request,
            "session": fw.session,
            "g": fw.g,
        }


def is_restored(target: t.Any, name: str, *, is_read_before: bool) -> bool:
    """Patch an attribute, and return whether it is the mock inside and the original afterwards."""
    original = getattr(target, name) if is_read_before else None
    replacement = mock.MagicMock()
    with mock.patch.object(target, name, replacement):
        inside = getattr(target, name)
    after = getattr(target, name)
    return inside is replacement and after is (
        original if is_read_before else getattr(target, name)
    )


def failures(fw: t.Any, names: dict[str, list[str]]) -> list[str]:
    """Return the attributes that were not restored, with the error if there was one."""
    found = []
    for owner, attributes in names.items():
        for attribute in attributes:
            for is_read_before in (False, True):
                with objects(fw) as made:
                    try:
                        if is_restored(made[owner], attribute, is_read_before=is_read_before):
                            continue
                        error = "not restored"
                    except AttributeError as raised:
                        error = str(raised)
                found.append(f"{owner}: {attribute}: {error}")
    return found


def attributes(fw: t.Any) -> dict[str, list[str]]:
    """Return the names in each object's `__dict__`, except for those of the contexts' state."""
    with objects(fw) as made:
        return {owner: sorted({*vars(value)} - {"_cv_tokens"}) for owner, value in made.items()}


if __name__ == "__main__":
    flask = importlib.import_module("flask")
    names = attributes(flask)
    json.dump({"names": names, "failures": failures(flask, names)}, sys.stdout)
