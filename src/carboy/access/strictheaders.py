"""The headers by which browsers restrict what a page can do: a strict Content-Security-Policy (CSP)
and others.

Source: https://www.w3.org/TR/CSP3/, https://owasp.org/www-project-secure-headers/
"""

from __future__ import annotations

import collections.abc as cabc
import re
import secrets
import typing as t
from dataclasses import dataclass

from ..core.advice import did_you_mean
from ..core.nosniff import NOSNIFF
from ..errors import ConfigError

Headers = tuple[tuple[str, str], ...]

#: The key in the WSGI environ of the nonce of a response: a text that `csp_nonce()` has made.
NONCE: t.Final = "carboy.csp_nonce"

_POLICY_NAME: t.Final = "Content-Security-Policy"
# Scripts run only if their element has the nonce of the response, which an attacker who can insert
# HTML does not know, or if a script that has it loads them. 'self' would let each file of the app
# run as a script, also one that a user has uploaded.
_POLICY: t.Final = {
    "default-src": "'none'",
    "script-src": "'nonce-{nonce}' 'strict-dynamic'",
    "style-src": "'self' 'nonce-{nonce}'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "media-src": "'self'",
    "manifest-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
_OTHERS: t.Final = {
    NOSNIFF[0]: NOSNIFF[1],
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# The media types of responses in which scripts can run.
_DOCUMENTS: t.Final = frozenset(
    ("text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml")
)
_NAME: t.Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE: t.Final = re.compile(r"[\t\x20-\x7e]*")
# The directives whose values are sources: those of CSP3, and fenced frames.
_OF_SOURCES: t.Final = frozenset(
    (
        *(f"{name}-src" for name in ("child", "connect", "default", "fenced-frame", "font")),
        *(f"{name}-src" for name in ("frame", "img", "manifest", "media", "object", "prefetch")),
        *("script-src", "script-src-elem", "script-src-attr", "worker-src"),
        *("style-src", "style-src-elem", "style-src-attr"),
        *("base-uri", "form-action", "frame-ancestors"),
    )
)
# Further ones of CSP3, Upgrade Insecure Requests, Mixed Content and Trusted Types.
_DIRECTIVES: t.Final = _OF_SOURCES | {
    *("sandbox", "report-uri", "report-to", "webrtc"),
    *("upgrade-insecure-requests", "block-all-mixed-content"),
    *("require-trusted-types-for", "trusted-types"),
}
_NONE: t.Final = "'none'"
# Sources that browsers understand only in quotes. Without them, they are names of hosts.
_QUOTED: t.Final = re.compile(
    r"none|self|unsafe-inline|unsafe-eval|unsafe-hashes|wasm-unsafe-eval|trusted-types-eval"
    r"|strict-dynamic|report-sample|inline-speculation-rules|(?:nonce|sha256|sha384|sha512)-.*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class StrictHeaders:
    """The headers that are added to the responses of an app.

    Attributes:
        fixed: those that are the same for all responses.
        policy: the Content-Security-Policy of documents, with `{nonce}` in place of the nonce;
            empty if there is none.
    """

    fixed: Headers
    policy: str

    def headers(self, content_type: str, environ: cabc.MutableMapping[str, t.Any]) -> Headers:
        """Return the headers of a response.

        Args:
            content_type: its header Content-Type; empty if it has none.
            environ: the WSGI environ of the request.
        """
        media_type = content_type.partition(";")[0].strip().lower()
        # A response with status 304 has no Content-Type, and so no policy here: the browser uses
        # the stored policy, whose nonce is the one in the stored page.
        if media_type not in _DOCUMENTS or not self.policy:
            return self.fixed
        policy = self.policy
        if "{nonce}" in policy:
            policy = policy.replace("{nonce}", nonce_of(environ))
        return (*self.fixed, (_POLICY_NAME, policy))


def nonce_of(environ: cabc.MutableMapping[str, t.Any]) -> str:
    """Return the nonce of the response to a request, which is made on first use."""
    nonce: str | None = environ.get(NONCE)
    if nonce is None:
        nonce = environ[NONCE] = secrets.token_urlsafe(16)
    return nonce


def parse(value: t.Any, source: str) -> StrictHeaders | None:
    """Return what a user has written as `STRICT_HEADERS`; None if no headers are added.

    Args:
        value: `True` for the strict headers; or a dict of header names whose values replace theirs.
            None as a value leaves a header out. The value of Content-Security-Policy may be a dict
            by directive: the sources are added to those of the strict policy.
        source: where the value was set, for error messages.
    Raises:
        ConfigError: the value is not valid.
    """
    if value is None or value is False:
        return None
    if value is True:
        value = {}
    if not isinstance(value, cabc.Mapping):
        raise ConfigError(
            f"STRICT_HEADERS: expected True, False, or a dict of headers that differ, such as"
            f" {{'Content-Security-Policy': {{'img-src': 'https://cdn.example'}}}}, got {value!r}"
            f" from {source}."
        )
    names = {name.lower(): name for name in (*_OTHERS, _POLICY_NAME)}
    found: dict[str, str | None] = {**_OTHERS, _POLICY_NAME: _joined(_POLICY)}
    for given, content in value.items():
        name = names.get(str(given).lower(), str(given))
        if not _NAME.fullmatch(name):
            raise ConfigError(f"STRICT_HEADERS: {given!r} from {source} is no name of a header.")
        if name == _POLICY_NAME and isinstance(content, cabc.Mapping):
            found[name] = _joined(_extended(content, source))
        else:
            found[name] = _checked(name, content, source)
    policy = found.pop(_POLICY_NAME) or ""
    fixed = tuple((name, text) for name, text in found.items() if text)
    return StrictHeaders(fixed, policy)


def _extended(more: cabc.Mapping[str, t.Any], source: str) -> dict[str, str]:
    """Return the strict policy with the directives in `more`.

    Sources are added to those of the directive; 'none' replaces them. A value of None removes the
    directive.
    """
    directives: dict[str, str] = dict(_POLICY)
    for name, sources in more.items():
        if name not in _DIRECTIVES:
            raise ConfigError(
                f"STRICT_HEADERS: {name!r} from {source} is no directive of a"
                f" Content-Security-Policy.{did_you_mean(str(name), _DIRECTIVES)}"
            )
        if sources is None:
            directives.pop(name, None)
            continue
        texts = [sources] if isinstance(sources, str) else sources
        if not isinstance(texts, (list, tuple)) or not all(_is_source(text) for text in texts):
            raise ConfigError(
                f"STRICT_HEADERS: the sources of {name!r} in Content-Security-Policy are a text"
                f" such as 'https://cdn.example', or a list of texts, not {sources!r} from"
                f" {source}."
            )
        given = " ".join(texts).split()
        if name in _OF_SOURCES:
            _check_sources(name, given, source)
        known = directives.get(name, "")
        is_kept = _NONE not in (known, *given)  # which counts only if it is alone
        directives[name] = " ".join(filter(None, (known if is_kept else "", *given)))
    return directives


def _check_sources(name: str, given: list[str], source: str) -> None:
    """Refuse sources that browsers would ignore, or take for something else."""
    for text in given:
        if _QUOTED.fullmatch(text):
            raise ConfigError(
                f"STRICT_HEADERS: the source {text!r} of {name!r} in Content-Security-Policy from"
                f""" {source} is a keyword, which needs quotes of its own: write "'{text}'"."""
            )
    if _NONE in given and len(given) > 1:
        raise ConfigError(
            f"STRICT_HEADERS: {name!r} in Content-Security-Policy from {source} has \"'none'\""
            " beside other sources. Write it alone, or leave it out."
        )


def _is_source(text: object) -> bool:
    return isinstance(text, str) and bool(_LINE.fullmatch(text)) and not set(text) & set(";,")


def _joined(directives: cabc.Mapping[str, str]) -> str:
    return "; ".join(" ".join(filter(None, each)) for each in directives.items())


def _checked(name: str, content: t.Any, source: str) -> str | None:
    if content is None or (isinstance(content, str) and _LINE.fullmatch(content)):
        return content
    raise ConfigError(
        f"STRICT_HEADERS: the value of {name} is one line of text, or None to leave the header out,"
        f" not {content!r} from {source}."
    )
