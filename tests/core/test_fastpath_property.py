"""Random apps and requests: the fast path equals the full dispatch, and both equal Flask."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
import randomapps
from chained import Chained
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sidebyside import Framework, observe

SUPPORT = pathlib.Path(__file__).parents[1] / "support"
FAST_PATH, CHAINED = Framework("carboy"), Framework("carboy", Chained)
# The default run is a smoke test; CARBOY_FUZZ=20000 searches for bugs.
EXAMPLES = int(os.environ.get("CARBOY_FUZZ", "40"))

_scope = st.sampled_from(randomapps.SCOPES)
_action = st.one_of(
    st.tuples(st.just("read"), st.sampled_from(randomapps.READS)),
    st.tuples(st.just("session"), st.sampled_from(["read", "set", "clear", "permanent"])),
    st.tuples(st.just("g"), st.none()),
    st.tuples(st.just("after"), st.none()),
    st.tuples(st.just("flash"), st.text(max_size=2)),
    st.tuples(st.just("raise"), st.sampled_from(sorted(randomapps.ERRORS))),
    st.tuples(st.just("abort"), st.sampled_from([400, 404, 405, 418, 500])),
    st.tuples(st.just("return"), st.sampled_from(randomapps.RETURNS)),
).map(list)
_actions = st.lists(_action, max_size=3)
_path = st.one_of(
    st.builds(
        "{}/{}".format,
        st.sampled_from(sorted(randomapps.PREFIXES.values())),
        st.sampled_from(
            ["v/a", "w", "v/%C3%BC", "v/%FF", "v/", "w/", "none", "v/a?q=1&q=2", "v//a"]
        ),
    ),
    st.text(max_size=5).map(lambda text: f"/{text}"),
)
_body: st.SearchStrategy[dict[str, t.Any]] = st.one_of(
    st.just({}),
    st.sampled_from(
        [
            {"data": "a=1&b=2", "content_type": "application/x-www-form-urlencoded"},
            {"data": '{"a": 1}', "content_type": "application/json"},
            {"data": "{", "content_type": "application/json"},
            {"data": "text"},
            {"data": "short", "environ": {"CONTENT_LENGTH": "20"}},
            {"data": "stream", "environ": {"wsgi.input_terminated": True, "CONTENT_LENGTH": None}},
        ]
    ),
)
_environ = st.fixed_dictionaries(
    {},
    optional={
        "HTTP_HOST": st.sampled_from(["localhost", "example.com", "bad host", "a:1", "", None]),
        "HTTP_COOKIE": st.sampled_from(["session=forged", "a=b; c", "session=", "x=session"]),
        "HTTP_IF_NONE_MATCH": st.just('"x"'),
        "HTTP_UPGRADE": st.just("websocket"),
        "SCRIPT_NAME": st.sampled_from(["/root", ""]),
    },
)


def _request(method: str, path: str, body: dict[str, t.Any], environ: dict[str, t.Any]) -> t.Any:
    merged = {**body.get("environ", {}), **environ}
    return {**body, "method": method, "path": path, "environ": merged}


_methods = ["GET", "GET", "GET", "POST", "HEAD", "OPTIONS", "PUT", "get", "BREW"]
_spec = st.fixed_dictionaries(
    {
        "config": st.fixed_dictionaries(
            {}, optional={k: st.sampled_from(v) for k, v in randomapps.CONFIG.items()}
        ),
        "hooks": st.lists(
            st.tuples(_scope, st.sampled_from(randomapps.HOOKS), _actions).map(list), max_size=4
        ),
        "handlers": st.lists(
            st.tuples(
                _scope,
                st.sampled_from([*sorted(randomapps.ERRORS), "HTTP", "404", "405", "500", "400"]),
                _actions,
            ).map(list),
            max_size=3,
        ),
        "views": st.fixed_dictionaries(dict.fromkeys(randomapps.SCOPES, _actions)),
        "signals": st.lists(st.sampled_from(randomapps.SIGNALS), max_size=2, unique=True),
        "requests": st.lists(
            st.builds(_request, st.sampled_from(_methods), _path, _body, _environ),
            min_size=1,
            max_size=4,
        ),
    }
)
_settings = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


class FlaskProcess:
    """Flask in its own process, which builds and runs the apps that it reads from its input."""

    def __init__(self, site: pathlib.Path) -> None:
        env = os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{SUPPORT}"}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(SUPPORT / "sidebyside.py"), "--serve"],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def observe(self, spec: object) -> t.Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(spec) + "\n")
        stdin.flush()
        return json.loads(stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def flask(flask_site: pathlib.Path) -> t.Iterator[FlaskProcess]:
    process = FlaskProcess(flask_site)
    yield process
    process.close()


@pytest.mark.timeout(0 if EXAMPLES > 1000 else 60)
@pytest.mark.filterwarnings("ignore")
@_settings
@given(_spec)
def test_fast_path_equals_full_dispatch(spec: dict[str, t.Any]) -> None:
    program = randomapps.build(spec)
    assert observe(program, FAST_PATH) == observe(program, CHAINED)


@pytest.mark.timeout(0 if EXAMPLES > 1000 else 60)
@pytest.mark.filterwarnings("ignore")
@_settings
@given(spec=_spec)
def test_carboy_equals_flask(spec: dict[str, t.Any], flask: FlaskProcess) -> None:
    theirs = flask.observe(spec)
    ours = json.loads(json.dumps(observe(randomapps.build(spec), FAST_PATH)))
    assert ours == theirs
