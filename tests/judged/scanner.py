"""wapiti: it crawls a website, and attacks each address and each field that it has found."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import subprocess
import tempfile
import threading
import typing as t

import environments
import sites
from judgement import Accepted, Judgement

# Those of the others that this network cannot have, or that have nothing to judge here.
LEFT_OUT = {
    "nikto, wapp, cms, htp, network_device, wp_enum": "need lists that wapiti downloads",
    "log4shell, takeover": "need a name server of their makers",
    "ssl, https_redirect": "the examples are served by HTTP; the HTTP Observatory judges HTTPS",
    "brute_login_form, timesql": "no example has a login or a database",
    "methods": "lists the methods of each address, which the document says",
}
MODULES = (
    *("backup", "buster", "cookieflags", "crlf", "csp", "csrf", "exec", "file", "htaccess"),
    *("http_headers", "ldap", "permanentxss", "redirect", "shellshock", "spring4shell", "sql"),
    *("ssrf", "upload", "xss", "xxe"),
)
_KINDS = ("vulnerabilities", "anomalies", "additionals")


def wapiti(name: str) -> Judgement:
    judgement = Judgement(
        f"wapiti {environments.version('judges', 'wapiti3')}", f"examples/{name}", "no finding"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        sites.example(name, pathlib.Path(folder)) as app,
        Endpoint() as endpoint,
    ):
        report = _scan(pathlib.Path(folder), name, app.url, endpoint.url)
        log = app.output
    judgement.problems += [f"the app has sent a request: {each}" for each in endpoint.asked]
    judgement.problems += sites.tracebacks(log)
    for kind in _KINDS:
        for title, found in report[kind].items():
            for each in found:
                _settle(judgement, name, title, each)
    return judgement


def _scan(folder: pathlib.Path, name: str, url: str, endpoint: str) -> t.Any:
    report = folder / "report.json"
    command = [
        *(
            environments.script("judges", "wapiti"),
            "--url",
            f"{url}/{sites.START_PAGES.get(name, '')}",
        ),
        *("--swagger", f"{url}/openapi.json", "--scope", "domain", "--module", ",".join(MODULES)),
        *("--header", f"X-API-Key: {sites.API_KEY}", "--endpoint", endpoint),
        *("--flush-session", "--store-session", folder / "session", "--store-config", folder),
        *("--format", "json", "--output", report, "--no-bugreport", "--verbose", "1"),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "Unable to request endpoint" not in done.stdout, done.stdout[-4000:]
    return json.loads(report.read_text())


class Rule(t.NamedTuple):
    """Findings that stay: those of a title, at addresses of some examples."""

    title: str
    places: tuple[str, ...]
    reason: str


ACCEPTED: tuple[Rule, ...] = ()


def _settle(judgement: Judgement, name: str, title: str, found: dict[str, t.Any]) -> None:
    place = f"examples/{name}: {found['method']} {found['path']}"
    for rule in ACCEPTED:
        if rule.title == title and f"{name}: {found['method']} {found['path']}" in rule.places:
            accepted = Accepted(title, place, rule.reason)
            if accepted not in judgement.accepted:
                judgement.accepted.append(accepted)
            return
    sent = found.get("curl_command") or found["http_request"]
    judgement.problems.append(f"{title}: {place}: {found['info']}\n{sent}")


class Endpoint(contextlib.AbstractContextManager["Endpoint"]):
    """The host that wapiti wants an attacked app to ask. wapiti asks it afterwards which requests
    have come; the answer is none, and those that did are in `asked`.
    """

    def __init__(self) -> None:
        asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not self.path.startswith("/get_"):
                    asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(b"{}")

            do_POST = do_HEAD = do_PUT = do_GET

            def log_message(self, *args: t.Any) -> None:
                pass

        self.asked = asked
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> t.Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()
