"""What counts of the headers of proxies: a table of headers, and what attackers send."""

from __future__ import annotations

import itertools
import time
import typing as t

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from stage import Stage, head
from werkzeug.middleware.proxy_fix import ProxyFix

from carboy.serving.http.environ import environ_of
from carboy.serving.http.forwarded import ForwardedError, TrustedProxies, parse_node

# The proxy that is connected to the server, a further one before it, the client, and an address
# that an attacker makes up.
PEER, OUTER, CLIENT, MADE_UP = "10.0.0.1", "10.0.0.2", "203.0.113.9", "198.51.100.1"
NETWORK = "10.0.0.0/8"
ALL = "for,proto,host,port,prefix"


def origin(proxies: str, headers: str = ALL, peer: str = PEER, **sent: str) -> dict[str, str]:
    """What the server makes of the headers `sent`, whose names lack `X-Forwarded-`."""
    names = {"forwarded": "HTTP_FORWARDED", "host_header": "HTTP_HOST"}
    environ = {names.get(name, f"HTTP_X_FORWARDED_{name}".upper()): sent[name] for name in sent}
    return TrustedProxies(proxies, headers).origin(environ, peer)


def client(proxies: str, value: str, peer: str = PEER) -> str | None:
    """The address that X-Forwarded-For changes REMOTE_ADDR to; None if it does not."""
    return origin(proxies, "for", peer, **{"for": value}).get("REMOTE_ADDR")


# ----------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("proxies", "value", "expected"),
    [
        pytest.param("1", CLIENT, CLIENT, id="one proxy"),
        pytest.param("1", f"{MADE_UP}, {CLIENT}", CLIENT, id="made up by the client"),
        pytest.param("2", f"{MADE_UP}, {CLIENT}, {OUTER}", CLIENT, id="two proxies"),
        pytest.param("2", CLIENT, CLIENT, id="two proxies, of which one wrote"),
        pytest.param("3", f"{CLIENT},{OUTER}", CLIENT, id="fewer values than proxies"),
        pytest.param(NETWORK, CLIENT, CLIENT, id="network"),
        pytest.param(NETWORK, f"{MADE_UP}, {CLIENT}", CLIENT, id="network, made up"),
        pytest.param(NETWORK, f"{MADE_UP}, {CLIENT}, {OUTER}", CLIENT, id="network, two proxies"),
        pytest.param(NETWORK, f"{CLIENT}, {OUTER}, {PEER}", CLIENT, id="network, three proxies"),
        pytest.param(NETWORK, f"10.0.0.7, {OUTER}", "10.0.0.7", id="client among the proxies"),
        pytest.param(
            f"{PEER},{OUTER}", f"{MADE_UP}, {CLIENT}, {OUTER}", CLIENT, id="two addresses"
        ),
        pytest.param(PEER, f"{CLIENT}, {OUTER}", OUTER, id="proxy that is not trusted"),
        pytest.param("2001:db8::/32", CLIENT, None, id="connection from elsewhere"),
        pytest.param("1", "", None, id="empty header"),
        pytest.param("2", f"{CLIENT},,{OUTER},", CLIENT, id="empty values do not count"),
    ],
)
def test_client_is_found_behind_trusted_proxies(proxies, value, expected):
    assert client(proxies, value) == expected


@pytest.mark.parametrize(
    ("value", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", "0"),
        ("192.0.2.1:80", "192.0.2.1", "80"),
        ("2001:DB8:0:0::1", "2001:db8::1", "0"),
        ("[2001:db8::1]", "2001:db8::1", "0"),
        ("[2001:db8::1]:47011", "2001:db8::1", "47011"),
        ("::ffff:192.0.2.1", "192.0.2.1", "0"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1", "80"),
        ("192.0.2.1:_hidden", "192.0.2.1", "0"),
        ("::1", "::1", "0"),
    ],
)
def test_address_may_have_a_port(value, address, port):
    assert parse_node(value) == (address, port)


NO_ADDRESSES = [
    *("unknown", "_hidden", "_gazonk", "unix:", "localhost", "nginx", "-", "..", "a" * 60),
    *("192.0.2", "192.0.2.1.1", "192.0.2.256", "192.0.02.1", "0x7f.0.0.1", "2130706433"),
    *("192.0.2.1:", "192.0.2.1:123456", "192.0.2.1:http", "192.0.2.1 80", "192.0.2.1/8"),
    *("[::1", "::1]", "[192.0.2.1", "[::1]80", "[]", "fe80::1%eth0", "[fe80::1%25eth0]"),
    *("٣.0.2.1", "192.0.2.1\x85", '"192.0.2.1"', "' or 1=1 --", "<script>", "${jndi:ldap://x}"),
    *("1" * 100_000, "::" * 40_000, ":" * 65_000, "[" * 65_000),
]


@pytest.mark.parametrize("value", NO_ADDRESSES, ids=lambda value: ascii(value[:30]))
def test_what_is_no_address_leaves_the_nearest_known_one(value):
    assert parse_node(value) is None
    for proxies in ("1", NETWORK):
        assert client(proxies, value) is None
    for proxies in ("2", NETWORK):
        assert client(proxies, f"{MADE_UP}, {value}, {OUTER}") == OUTER


@pytest.mark.parametrize("peer", ["fe80::1%eth0", "fe80::1"])
def test_proxy_on_a_link_is_trusted(peer):
    assert client("fe80::/10", CLIENT, peer=peer) == CLIENT


# ------------------------------------------------------- scheme, host, port and prefix


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param({"proto": "https"}, {"wsgi.url_scheme": "https"}, id="scheme"),
        pytest.param({"proto": "HTTP"}, {"wsgi.url_scheme": "http"}, id="capitals"),
        pytest.param({"proto": "wss"}, {"wsgi.url_scheme": "https"}, id="WebSocket"),
        pytest.param({"proto": "http, https"}, {"wsgi.url_scheme": "https"}, id="last scheme"),
        pytest.param({"proto": ""}, {}, id="empty scheme"),
        pytest.param(
            {"host": "shop.example"},
            {"HTTP_HOST": "shop.example", "SERVER_NAME": "shop.example"},
            id="host",
        ),
        pytest.param(
            {"host": "evil.example, shop.example:81"},
            {"HTTP_HOST": "shop.example:81", "SERVER_NAME": "shop.example", "SERVER_PORT": "81"},
            id="last host",
        ),
        pytest.param(
            {"host": "[::1]"}, {"HTTP_HOST": "[::1]", "SERVER_NAME": "[::1]"}, id="IPv6 host"
        ),
        pytest.param(
            {"host": "[::1]:81"},
            {"HTTP_HOST": "[::1]:81", "SERVER_NAME": "[::1]", "SERVER_PORT": "81"},
            id="IPv6 host and port",
        ),
        pytest.param(
            {"port": "8443", "host_header": "shop.example"},
            {"HTTP_HOST": "shop.example:8443", "SERVER_PORT": "8443"},
            id="port",
        ),
        pytest.param({"port": "8443"}, {"SERVER_PORT": "8443"}, id="port without a host"),
        pytest.param(
            {"port": "8443", "host": "shop.example:81"},
            {
                "HTTP_HOST": "shop.example:8443",
                "SERVER_NAME": "shop.example",
                "SERVER_PORT": "8443",
            },
            id="port replaces that of the host",
        ),
        pytest.param({"prefix": "/shop"}, {"SCRIPT_NAME": "/shop"}, id="prefix"),
        pytest.param({"prefix": "/shop/v2/"}, {"SCRIPT_NAME": "/shop/v2"}, id="long prefix"),
        pytest.param({"prefix": "/"}, {"SCRIPT_NAME": ""}, id="no prefix"),
        pytest.param({"prefix": "/.well/..x"}, {"SCRIPT_NAME": "/.well/..x"}, id="dots in names"),
    ],
)
def test_header_changes_the_environ(sent, expected):
    assert origin("1", **sent) == expected
    assert origin(NETWORK, **sent) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *itertools.product(
            ["proto"], ["ftp", "javascript", "https;", "https\x85", "on", '"https"']
        ),
        *itertools.product(
            ["host"],
            ["a b", "a/b", "user@host", "a?b", "[::1", "a:port", "a:123456", "a\\b", 'a"b', "<a>"],
        ),
        *itertools.product(["port"], ["0", "65536", "-1", "80a", "٨٠", "1" * 5000, "80:81", "+80"]),
        *itertools.product(
            ["prefix"],
            [
                *("shop", "//evil.example", "/a//b", "/..", "/a/../b", "/.", "/a/.", "/a/./b"),
                *("/a b", "/a?b", "/a#b", "/a\\b", "/\\evil.example", "/a%2f..", "/<a>", '/a"b'),
                *("https://evil.example", "javascript:alert(1)", "/a\x00", "/\xe9", "///"),
            ],
        ),
    ],
)
def test_value_that_no_proxy_writes_is_an_error(name, value):
    with pytest.raises(ForwardedError, match=r"^the forwarded \w+ is "):
        origin("1", **{name: value})
    assert origin(NETWORK, peer=CLIENT, **{name: value}) == {}, "not from a trusted proxy"
    others = ",".join(each for each in ALL.split(",") if each != name)
    assert origin("1", others, **{name: value}) == {}, "not a header that counts"


@pytest.mark.parametrize("proxies", ["2", NETWORK])
def test_outermost_trusted_proxy_counts(proxies):
    """Each proxy has appended its value, behind those that the client has made up."""
    found = origin(
        proxies,
        **{"for": f"{MADE_UP}, {CLIENT}, {OUTER}"},
        proto="http, https, http",
        host="evil.example, shop.example, inner.example",
        port="1, 8443, 80",
        prefix="/evil, /shop, /inner",
    )
    assert found == {
        "REMOTE_ADDR": CLIENT,
        "REMOTE_PORT": "0",
        "wsgi.url_scheme": "https",
        "HTTP_HOST": "shop.example:8443",
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "8443",
        "SCRIPT_NAME": "/shop",
    }


@pytest.mark.parametrize("proxies", ["2", NETWORK])
def test_header_that_the_inner_proxy_replaces_has_one_value(proxies):
    found = origin(proxies, **{"for": f"{CLIENT}, {OUTER}"}, proto="https")
    assert found["REMOTE_ADDR"] == CLIENT
    assert found["wsgi.url_scheme"] == "https"


# ----------------------------------------------------------------------------------- Forwarded


@pytest.mark.parametrize(
    ("proxies", "value", "expected"),
    [
        pytest.param("1", f"for={CLIENT}", [CLIENT], id="address"),
        pytest.param(
            "1",
            f"For={CLIENT};PROTO=https;by=203.0.113.43;host=shop.example",
            [CLIENT, "https", "shop.example"],
            id="all parameters",
        ),
        pytest.param(
            "1",
            'for="[2001:db8:cafe::17]:4711"; host="shop.example:81"',
            ["2001:db8:cafe::17", None, "shop.example:81"],
            id="quoted strings",
        ),
        pytest.param("1", rf'for="{CLIENT[:-1]}\{CLIENT[-1]}"', [CLIENT], id="escape"),
        pytest.param("1", f"for={CLIENT}:80", [CLIENT], id="colon outside of a quoted string"),
        pytest.param(
            "1", f"for={MADE_UP};proto=http, for={CLIENT}", [CLIENT], id="made up by the client"
        ),
        pytest.param(
            "2", f"for={MADE_UP}, for={CLIENT};proto=https, for={OUTER}", [CLIENT, "https"], id="2"
        ),
        pytest.param(
            NETWORK,
            f'for="{MADE_UP}", for={CLIENT};proto=https,for={OUTER};proto=http',
            [CLIENT, "https"],
            id="network",
        ),
        pytest.param("1", "for=unknown;proto=https", [None, "https"], id="unknown"),
        pytest.param(
            NETWORK, f"for={MADE_UP}, for=_hidden, for={OUTER}", [OUTER], id="made-up name"
        ),
        pytest.param("2", f"proto=https, for={OUTER}", [OUTER, "https"], id="without address"),
        pytest.param("1", ";;for=192.0.2.1;;", ["192.0.2.1"], id="empty parameters"),
        pytest.param("1", "for=", [], id="no value"),
        pytest.param("1", "192.0.2.1", [], id="no name"),
        pytest.param("1", f"for={CLIENT};for={MADE_UP}", [], id="name that occurs twice"),
        pytest.param("1", f'for="{CLIENT}', [], id="quoted string without end"),
        pytest.param("1", f"for={CLIENT};;=x", [], id="no name at all"),
        pytest.param("1", f"for = {CLIENT}", [], id="spaces around the sign"),
        pytest.param("1", "for=192.0.2.1;ext=" + "x" * 6000, ["192.0.2.1"], id="long element"),
        pytest.param(
            "1", f'for="x, for={CLIENT}', [CLIENT], id="quotation mark before the proxy's element"
        ),
        pytest.param(
            "1", f'a="\\, for={CLIENT};b="', [], id="quotation mark that spans the proxy's element"
        ),
        pytest.param(
            "2",
            f'for={MADE_UP}, for={CLIENT};x="a,b", for={OUTER}',
            [OUTER],
            id="a comma separates also inside of a quoted string",
        ),
    ],
)
def test_forwarded_is_read(proxies, value, expected):
    found = origin(proxies, "forwarded", forwarded=value)
    keys = ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST")
    assert [found.get(key) for key in keys] == [*expected, None, None, None][:3]


@pytest.mark.parametrize("headers", ["forwarded", "prefix,forwarded"])
def test_only_forwarded_counts_if_it_is_chosen(headers):
    sent = {"for": MADE_UP, "proto": "https", "host": "evil.example", "port": "1", "prefix": "/p"}
    found = origin("1", headers, forwarded=f"for={CLIENT}", **sent)
    assert found == {
        "REMOTE_ADDR": CLIENT,
        "REMOTE_PORT": "0",
        **({"SCRIPT_NAME": "/p"} if "prefix" in headers else {}),
    }


def test_forwarded_does_not_count_unless_it_is_chosen():
    assert origin("1", forwarded=f"for={MADE_UP};proto=https;host=evil.example") == {}


def test_header_that_was_not_chosen_changes_nothing():
    sent = {"proto": "https", "host": "evil.example", "port": "1", "prefix": "/p"}
    assert origin("1", "for", **{"for": CLIENT}, **sent).keys() == {"REMOTE_ADDR", "REMOTE_PORT"}


# ------------------------------------------------------------------------------ huge headers


@pytest.mark.parametrize(
    ("headers", "name", "text"),
    [
        ("for", "for", "10.0.0.2, " * 6_000),
        ("for", "for", "," * 65_000),
        ("for", "for", "a" * 65_000),
        ("for,proto", "proto", "https," * 10_000),
        ("forwarded", "forwarded", "for=10.0.0.2;proto=https, " * 2_500),
        ("forwarded", "forwarded", '"' * 65_000),
        ("forwarded", "forwarded", "for=a;" * 10_000),
        ("forwarded", "forwarded", '="' * 32_000),
        ("for,prefix", "prefix", "/a" * 32_000),
        ("for,prefix", "prefix", "/." * 32_000),
        ("for,host", "host", "a" * 65_000),
    ],
)
def test_huge_header_costs_little(headers, name, text):
    """The thread that parses a head reads the requests of all clients."""
    proxies = TrustedProxies(NETWORK, headers)
    key = "HTTP_FORWARDED" if name == "forwarded" else f"HTTP_X_FORWARDED_{name.upper()}"

    def read(value):
        began_s = time.process_time()
        try:
            proxies.origin({key: value}, PEER)
        except ForwardedError:
            pass
        return time.process_time() - began_s

    # The least of several times is not the time of another program on the same processor.
    assert min(read(f"{text}{i}") for i in range(5)) < 0.01


# ------------------------------------------------------------------ compared with ProxyFix

VALUES = {
    "for": ["192.0.2.1", "2001:db8::1", "10.0.0.2"],
    "proto": ["http", "https"],
    "host": ["a.example", "b.example:81", "[::1]", "[::1]:82"],
    "port": ["80", "8443"],
    "prefix": ["/a", "/b/c"],
}


@given(
    hops=st.integers(1, 3),
    sent=st.fixed_dictionaries(
        {name: st.lists(st.sampled_from(values), min_size=3) for name, values in VALUES.items()}
    ),
    host=st.sampled_from([None, "c.example", "c.example:83", "[::2]"]),
    chosen=st.sets(st.sampled_from(ALL.split(",")), min_size=1),
)
@example(1, {name: values[:1] for name, values in VALUES.items()}, None, set(ALL.split(",")))
def test_number_of_proxies_means_the_same_as_for_proxy_fix(hops, sent, host, chosen):
    environ: dict[str, t.Any] = {
        "REMOTE_ADDR": PEER,
        "wsgi.url_scheme": "http",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SCRIPT_NAME": "",
        **({} if host is None else {"HTTP_HOST": host}),
        **{f"HTTP_X_FORWARDED_{name.upper()}": ", ".join(sent[name]) for name in sent},
    }
    ours = environ | TrustedProxies(str(hops), ",".join(chosen)).origin(environ, PEER)
    ours.pop("REMOTE_PORT", None)  # ProxyFix leaves the port of the proxy
    counts = {f"x_{name}": hops if name in chosen else 0 for name in ALL.split(",")}
    theirs = dict(environ)
    ProxyFix(lambda environ, _: theirs.update(environ) or [], **counts)(dict(environ), None)
    theirs.pop("werkzeug.proxy_fix.orig")
    assert ours == theirs


@given(
    made_up=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=80),
    proxies=st.sampled_from(["1", NETWORK]),
    is_forwarded=st.booleans(),
)
@example(made_up='for="', proxies="1", is_forwarded=True)
@example(made_up='"', proxies="1", is_forwarded=False)
@example(made_up="\\", proxies=NETWORK, is_forwarded=True)
def test_no_text_of_a_client_changes_what_the_proxy_appends(made_up, proxies, is_forwarded):
    if is_forwarded:
        text = f'{made_up}, for="{CLIENT}:80";proto=https;host=shop.example'
        found = origin(proxies, "forwarded", forwarded=text)
    else:
        sent = {"for": f"{made_up}, {CLIENT}:80", "proto": f"{made_up},https"}
        found = origin(proxies, "for,proto", **sent)
    assert (found["REMOTE_ADDR"], found["REMOTE_PORT"]) == (CLIENT, "80")
    assert found["wsgi.url_scheme"] == "https"


# ------------------------------------------------------------------------------- the server


def environ_through(proxies, *headers, version="1.1"):
    """The environ of a request whose connection comes from 127.0.0.1."""
    seen = []

    def admit(exchange):
        exchange.handler = lambda exchange: seen.append(environ_of(exchange, None))

    with Stage(proxies=proxies) as stage:
        stage.handler.on_admit = admit
        client = stage.connect()
        client.send(head(headers=headers, version=version))
        stage.until(lambda: seen or client.has_answer())
        return seen[0] if seen else client.answer()


# Values of the environ that differ between two connections without proxies, too.
OF_THE_CONNECTION = ("REMOTE_PORT", "carboy.request_id")
SPOOFED = [
    ("X-Forwarded-For", MADE_UP),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Port", "1"),
    ("X-Forwarded-Prefix", "//evil.example"),
    ("Forwarded", f"for={MADE_UP};proto=https;host=evil.example"),
    ("X-Real-IP", MADE_UP),
]


@pytest.mark.parametrize(
    "proxies",
    [None, TrustedProxies(NETWORK, ALL), TrustedProxies("2001:db8::/32", "forwarded")],
    ids=["no proxies", "others", "others with Forwarded"],
)
def test_headers_of_others_change_nothing(proxies):
    plain, spoofed = environ_through(None), environ_through(proxies, *SPOOFED)
    sent = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in SPOOFED}
    assert spoofed == {**plain, **sent, **{name: spoofed[name] for name in OF_THE_CONNECTION}}


def test_header_lines_of_one_name_are_one_list():
    """A proxy may append a line instead of a value. Source: RFC 9110, 5.3"""
    lines = [("X-Forwarded-For", each) for each in (MADE_UP, CLIENT, "127.0.0.2")]
    environ = environ_through(TrustedProxies("127.0.0.0/8", "for"), *lines)
    assert environ["REMOTE_ADDR"] == CLIENT
    assert environ["HTTP_X_FORWARDED_FOR"] == f"{MADE_UP},{CLIENT},127.0.0.2"


def test_header_with_underscores_does_not_count():
    environ = environ_through(TrustedProxies("1", "for"), ("X_Forwarded_For", MADE_UP))
    assert environ["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-Forwarded-Proto", "ftp"), ("X-Forwarded-Host", "a b"), ("X-Forwarded-Prefix", "//a")],
)
def test_value_that_no_proxy_writes_is_refused(name, value):
    answer = environ_through(TrustedProxies("1", ALL), (name, value))
    assert answer.status == 400
    assert answer.closes
    assert b"400 Bad Request: the forwarded" in answer.body
    assert value.encode() not in answer.body


def test_old_client_without_a_host_gets_that_of_the_proxy():
    with Stage(proxies=TrustedProxies("1", ALL)) as stage:
        hosts = []

        def admit(exchange):
            hosts.extend([exchange.host, exchange.client])
            exchange.handler = lambda exchange: exchange.respond(200, [], b"")

        stage.handler.on_admit = admit
        client = stage.connect()
        client.ask(b"GET / HTTP/1.0\r\nX-Forwarded-Host: a.example\r\n\r\n")
        assert hosts == ["a.example", "127.0.0.1"]
