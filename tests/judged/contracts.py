"""schemathesis: it reads the document of an app, and sends what the document allows, and not."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import re
import tempfile
import typing as t

import environments
import sites
import spawning
from judgement import Accepted, Judgement

HERE = pathlib.Path(__file__).resolve().parent
EXAMPLES_EACH = 25
_HOOKS = {
    "PYTHONPATH": str(HERE.parent / "support"),
    "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
}
_TESTED = re.compile(r"^  Tested: (\d+)$", re.MULTILINE)


class Subject(t.NamedTuple):
    """What is judged: an example, by the requests of its document.

    Attributes:
        example: the name of the example.
        what: how its requests differ from those of the document as it is served.
        env: what makes them differ.
    """

    example: str
    what: str = ""
    env: t.Mapping[str, str] = {}


class Exemption(t.NamedTuple):
    """A check that an operation does not pass, and why.

    Attributes:
        check: the check, by schemathesis's name.
        path: the operation; "" for all.
        statuses: the statuses that count as accepted; () switches the check off.
        reason: why it stays so.
    """

    check: str
    path: str
    statuses: tuple[str, ...]
    reason: str


SUBJECTS = (
    *map(Subject, sites.EXAMPLES),
    # The document has JSON alone unless this is set; the app reads the others all the same.
    Subject("flowers", "forms and MessagePack", {"FLOWERS_OPENAPI_ALL_MEDIA_TYPES": "true"}),
)

_ACCEPTED = ("2xx", "3xx", "401", "403", "404", "409", "429", "5xx")
_POSITIVE, _NEGATIVE = "positive_data_acceptance", "negative_data_rejection"
_PICTURE = "JSON Schema cannot say that a text is a picture in base64, nor what is on it"
_FORM = (
    "JSON Schema cannot say that a field of a form that was left blank counts as missing, nor that"
    " of a field that was sent twice the first counts"
)
_HIDDEN = "the document leaves out the POST of this path, which takes pictures only"
EXEMPTIONS: dict[tuple[str, str], tuple[Exemption, ...]] = {
    ("digits", ""): (Exemption(_POSITIVE, "/digits", (*_ACCEPTED, "415", "422"), _PICTURE),),
    ("shapes", ""): (
        Exemption(_POSITIVE, "/shapes", (*_ACCEPTED, "415", "422"), _PICTURE),
        Exemption(_POSITIVE, "/edges", (*_ACCEPTED, "415", "422"), _PICTURE),
    ),
    ("wine", ""): (
        Exemption(
            _POSITIVE,
            "/wines",
            (*_ACCEPTED, "400", "422"),
            "JSON Schema cannot say that a text is a table with these columns",
        ),
    ),
    ("gallery", ""): (
        Exemption("unsupported_method", "/pictures", (), _HIDDEN),
        Exemption("allow_header_conformance", "/pictures", (), _HIDDEN),
    ),
    ("parrot", ""): (Exemption(_NEGATIVE, "/parrot", (), _FORM),),
    ("flowers", "forms and MessagePack"): (Exemption(_NEGATIVE, "", (), _FORM),),
}


def schemathesis(subject: Subject) -> Judgement:
    exemptions = EXEMPTIONS.get((subject.example, subject.what), ())
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        settings = folder / "schemathesis.toml"
        settings.write_text("".join(map(_setting, exemptions)))
        with sites.example(subject.example, folder, subject.env) as app:
            done = environments.run(_command(app.url, settings), cwd=folder, env=_HOOKS)
        log = app.output
    tested = _TESTED.search(done.stdout)
    where = f"examples/{subject.example}" + (f", {subject.what}" if subject.what else "")
    judgement = Judgement(
        "schemathesis",
        importlib.metadata.version("schemathesis"),
        where,
        f"all checks pass: {tested[1]} operations" if tested else "nothing tested",
    )
    if done.returncode or tested is None:
        judgement.problems.append(done.stdout[-6000:] + done.stderr[-2000:])
    judgement.problems += sites.tracebacks(log)
    judgement.accepted = [
        Accepted(f"`{each.check}`", f"{where}: {each.path or 'all'}", each.reason)
        for each in exemptions
    ]
    return judgement


def _command(url: str, settings: pathlib.Path) -> list[str]:
    return [
        *(spawning.script("schemathesis"), "--config-file", str(settings)),
        # It does not resolve the relative URL of the document's server.
        *("run", f"{url}/openapi.json", "--url", url, "--header", f"X-API-Key: {sites.API_KEY}"),
        *("--max-examples", str(EXAMPLES_EACH), "--seed", "1", "--generation-deterministic"),
        *("--continue-on-failure", "--no-color"),
        *("--suppress-health-check", "too_slow"),
        # It warns that it knows no numbers of flowers; it finds some by following responses.
        *("--warnings", "off"),
    ]


def _setting(exemption: Exemption) -> str:
    """Return an exemption in the words of schemathesis.toml."""
    table = f"checks.{exemption.check}"
    if exemption.path:
        head = f"[[operations]]\ninclude-path = {json.dumps(exemption.path)}\n[operations.{table}]"
    else:
        head = f"[{table}]"
    if exemption.statuses:
        return f"{head}\nexpected-statuses = {json.dumps(exemption.statuses)}\n"
    return f"{head}\nenabled = false\n"
