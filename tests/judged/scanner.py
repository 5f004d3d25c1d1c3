"""wapiti: it crawls a website, and attacks each address and each field that it has found."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
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
    "buster": "tries 31,000 names in each folder; only static files have folders",
    "methods": "lists the methods of each address, which the document says",
}
MODULES = (
    *("backup", "cookieflags", "crlf", "csp", "csrf", "exec", "file", "htaccess"),
    *("http_headers", "ldap", "permanentxss", "redirect", "shellshock", "spring4shell", "sql"),
    *("ssrf", "upload", "xss", "xxe"),
)
# The smallest example has more; fewer are a sign that it has found nothing to attack.
FEWEST_PAGES = 5
_KINDS = ("vulnerabilities", "anomalies", "additionals")


def wapiti(name: str) -> Judgement:
    judgement = Judgement(
        "wapiti", environments.version("judges", "wapiti3"), f"examples/{name}", "no finding"
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
    start = f"{url}/{sites.START_PAGES.get(name, '')}"
    command = [
        # It adds the paths of the document to the URL, so that this must be the first page.
        *(environments.script("judges", "wapiti"), "--url", f"{url}/", "--start", start),
        *("--swagger", f"{url}/openapi.json", "--scope", "domain", "--module", ",".join(MODULES)),
        *("--header", f"X-API-Key: {sites.API_KEY}", "--endpoint", endpoint),
        *("--flush-session", "--store-session", folder / "session", "--store-config", folder),
        *("--format", "json", "--output", report, "--no-bugreport", "--verbose", "1"),
    ]
    done = environments.run(command, cwd=folder)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "Unable to request endpoint" not in done.stdout, done.stdout[-4000:]
    found = json.loads(report.read_text())
    assert found["infos"]["crawled_pages_nbr"] >= FEWEST_PAGES, done.stdout[-4000:]
    return found


class Rule(t.NamedTuple):
    """Findings that stay: those of a title, at some addresses of the examples."""

    title: str
    places: tuple[str, ...]
    reason: str


_CSRF = "Cross Site Request Forgery"
ACCEPTED = (
    Rule(
        _CSRF,
        ("digits POST /digits", "parrot POST /parrot", "wine POST /wine"),
        "a prediction changes nothing and reads no cookie",
    ),
    Rule(
        _CSRF,
        ("gallery POST /pictures",),
        "the cookie is `SameSite=Lax`: browsers do not send it with forms of other sites",
    ),
    Rule(
        "Secure Flag cookie",
        ("gallery GET /",),
        "browsers send a cookie with that flag by HTTPS only, and the example is served by HTTP",
    ),
)


def _settle(judgement: Judgement, name: str, title: str, found: dict[str, t.Any]) -> None:
    request = f"{found['method']} {found['path']}"
    place = f"examples/{name}: {request}"
    for rule in ACCEPTED:
        if rule.title == title and f"{name} {request}" in rule.places:
            judgement.accept(Accepted(title, place, rule.reason))
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
