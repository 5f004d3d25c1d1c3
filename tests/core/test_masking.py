"""Which values are masked when configuration is printed, and in messages and tracebacks."""

from __future__ import annotations

import copy
import dataclasses
import html
import json
import pprint
import threading
import time
import typing as t
from datetime import timedelta
from types import MappingProxyType
from urllib.parse import quote

import attrs
import msgspec
import pydantic
import pytest

from carboy import Carboy
from carboy.core.masking import MASK, looks_secret, mask_text, masked

# Another key than in other files, whose apps may exist for a while after their tests.
KEY = "k3y-0f-th1s-f1le-4nd-n0-0th3r"


@pytest.mark.parametrize(
    "name",
    [
        "SECRET_KEY",
        "SECRET_KEY_FALLBACKS",
        "AWS_ACCESS_KEY_ID",
        "STRIPE_APIKEY",
        "api_key",
        "GITHUB_TOKEN",
        "DB_PASSWORD",
        "dbPassword",
        "MAIL_PASSWD",
        "LDAP_PWD",
        "PASS",
        "SENTRY_DSN",
        "GOOGLE_CREDENTIALS",
        "SSL_PASSPHRASE",
        "SECURITY_PASSWORD_SALT",
        "PRIVATE_PEM",
    ],
)
def test_names_of_secrets_are_recognised(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    ["DEBUG", "SERVER_NAME", "HANDSNIP", "COMPASSION", "KEYWORDS", "TOKENIZER", "BYPASS_CACHE"],
)
def test_other_names_are_not_taken_for_secrets(name: str) -> None:
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ada:pw@db:5432/shop", f"postgresql://ada:{MASK}@db:5432/shop"),
        ("mysql+pymysql://ada:p@w/o:rd@db/shop", f"mysql+pymysql://ada:{MASK}@db/shop"),
        ("redis://:pw@cache/0", f"redis://:{MASK}@cache/0"),
        ("https://ghp_abc@github.com/x", f"https://{MASK}@github.com/x"),
        ("amqp://a:p1@h1,amqp://b:p2@h2", f"amqp://a:{MASK}@h2"),
        ("https://h/x?a=1&api_key=pw&b=2", f"https://h/x?a=1&api_key={MASK}&b=2"),
        ("no answer from '/x?token=pw' (h)", f"no answer from '/x?token={MASK}' (h)"),
        ("-----BEGIN RSA PRIVATE KEY-----\npw", f"-----BEGIN RSA PRIVATE KEY-----{MASK}"),
        (
            "a -----BEGIN PRIVATE KEY-----\npw\n-----END PRIVATE KEY----- b",
            f"a -----BEGIN PRIVATE KEY-----{MASK} b",
        ),
        ("sorted(rows, key=len) if a and b", "sorted(rows, key=len) if a and b"),
        ("token=17 in 3 ms", "token=17 in 3 ms"),
        ("user=ada password=pw, retry", f"user=ada password={MASK}, retry"),
        ("client_secret=pw&x=1", f"client_secret={MASK}&x=1"),
        ("Endpoint=x;AccountKey=pw==;Suffix=y", f"Endpoint=x;AccountKey={MASK};Suffix=y"),
        ('app.config["SECRET_KEY"] = "p" + 1', f'app.config["SECRET_KEY"] = "{MASK}" + 1'),
        ("secret_key = 'pw", f"secret_key = '{MASK}'"),
        ("{&#34;password&#34;: &#34;pw&#34;, 3}", f"{{&#34;password&#34;: &#34;{MASK}&#34;, 3}}"),
        ('st.button("Save", key="save")', 'st.button("Save", key="save")'),
        ("password: pw1", f"password: {MASK}"),
        ("X-Api-Key: a.b_1, X: y", f"X-Api-Key: {MASK}, X: y"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {MASK}"),
        ("{'authorization': 'Basic dTpwdw=='}", f"{{'authorization': 'Basic {MASK}'}}"),
        ("Invalid password: too short", "Invalid password: too short"),
        ("SECRET_KEY: expected str, got int 5.", "SECRET_KEY: expected str, got int 5."),
        ("Authorization: required", "Authorization: required"),
        ("secret_key = load()", "secret_key = load()"),
        ("sqlite:///shop.db", "sqlite:///shop.db"),
        ("postgresql://ada@db/shop", "postgresql://ada@db/shop"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/"),
        ("mail ada@example.com", "mail ada@example.com"),
    ],
)
def test_secrets_inside_a_text_are_masked(text: str, shown: str) -> None:
    assert mask_text(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("host=db password='p w' user=ada", f"host=db password={MASK} user=ada"),
        ("token=pw;key=pw", f"token={MASK};key={MASK}"),
        ("sort=name", "sort=name"),
    ],
)
def test_secrets_inside_a_connection_string_of_a_config_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("pw", MASK),
        (b"pw", MASK),
        (12345, MASK),
        (["old", "older"], MASK),
        ({"a": "b"}, MASK),
        (None, None),
        ("", ""),
        ([], []),
        (True, True),
        (timedelta(1), timedelta(1)),
    ],
    ids=repr,
)
def test_value_under_a_secret_name_is_masked(value: t.Any, shown: t.Any) -> None:
    assert masked(value, "API_KEY") == shown


def test_containers_of_any_depth_are_masked() -> None:
    value = {
        "engine": {"connect_args": {"password": "pw", "timeout": 3}},
        "binds": [("x", "redis://:pw@h"), {"token": "pw"}],
        "proxy": MappingProxyType({"secret": "pw"}),
        "set": {"redis://:pw@h"},
        "raw": b"redis://:pw@h",
    }
    before = repr(value)
    shown = repr(masked(value))
    assert "pw" not in shown
    assert "'timeout': 3" in shown
    assert repr(value) == before


def test_recursive_container_is_masked_without_recursion() -> None:
    value: dict[str, t.Any] = {"password": "pw"}
    value["self"] = [value]
    assert masked(value) == {"password": MASK, "self": [...]}


# --- known secrets --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", KEY),
        ("SECRET_KEY", KEY.encode()),
        ("SECRET_KEY", bytearray(KEY.encode())),
        ("SECRET_KEY_FALLBACKS", ["other", KEY]),
        ("STRIPE_APIKEY", KEY),
        ("MAIL_PASSWORD", KEY),
        ("API_KEY_2", KEY),
        ("API_TOKENS", {"ada": KEY}),
        ("DATABASES", [{"HOST": "db", "PASSWORD": KEY}]),
    ],
)
def test_secret_of_a_config_is_masked_in_any_text(name: str, value: t.Any) -> None:
    app = Carboy(__name__)
    assert mask_text(f"sent {KEY}") == f"sent {KEY}"
    app.config[name] = value
    assert mask_text(f"sent {KEY}") == f"sent {MASK}"


@pytest.mark.parametrize("key", ["a\"b'c<d>&e\\f\n\u00e9 17", "plain-17-key"])
@pytest.mark.parametrize(
    "write",
    [str, repr, json.dumps, html.escape, quote, lambda key: repr(key.encode())],
    ids=["str", "repr", "json", "html", "url", "bytes"],
)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_secret_is_masked_in_each_way_to_write_it(
    key: str, write: t.Callable[[str], str], as_bytes: bool
) -> None:
    app = Carboy(__name__)
    app.config["SECRET_KEY"] = key.encode() if as_bytes else key
    assert "17" not in mask_text(f"the key {write(key)} is wrong")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "dev"),
        ("SECRET_KEY", "test"),
        ("SECRET_KEY", "1"),
        ("SECRET_KEY", ""),
        ("SECRET_KEY", None),
        ("SECRET_KEY", "development"),
        ("SECRET_KEY", "secret_key"),
        ("SECRET_KEY", "aaaaaaaaaaaaaaaa"),
        ("API_TOKEN", "20261129"),
        ("API_TOKEN", 4000000000000000),
        ("SECURITY_PASSWORD_HASH", "argon2-and-more"),
        ("JWT_TOKEN_LOCATION", "headers-and-cookies"),
        ("SSL_KEY_FILE", "/etc/ssl/private/key-1.pem"),
        ("SERVER_NAME", "shop-17.example.com"),
    ],
)
def test_value_that_ordinary_text_may_contain_is_not_masked(name: str, value: t.Any) -> None:
    app = Carboy(__name__)
    app.config[name] = value
    text = f"{value} in development: 1 test of secret_key at 20261129, aaaaaaaaaaaaaaaa"
    assert mask_text(text) == text


def test_secret_of_the_environment_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_SECRET_KEY", KEY)
    app = Carboy(__name__)
    assert mask_text(KEY) == MASK
    monkeypatch.delenv("SHOP_SECRET_KEY")
    app.config["ANY"] = "other"
    assert mask_text(KEY) == KEY


def test_current_folder_is_no_secret(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("PWD", "/home/ada/shop-17")
    app = Carboy(__name__)
    assert mask_text("in /home/ada/shop-17/app.py") == "in /home/ada/shop-17/app.py"
    del app


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(SECRET_KEY=KEY),
        lambda config: config.from_mapping(SECRET_KEY=KEY),
        lambda config: config.__ior__({"SECRET_KEY": KEY}),
        lambda config: config.from_object(type("Settings", (), {"SECRET_KEY": KEY})),
        lambda config: config.setdefault("SHOP_SECRET", KEY),
    ],
    ids=["update", "from_mapping", "or", "from_object", "setdefault"],
)
def test_secret_is_known_however_the_config_gets_it(change: t.Callable[[t.Any], object]) -> None:
    app = Carboy(__name__)
    assert mask_text(KEY) == KEY
    change(app.config)
    assert mask_text(KEY) == MASK
    app.config.pop("SHOP_SECRET", None)
    app.secret_key = None
    assert mask_text(KEY) == KEY


def test_secrets_of_several_apps_are_known_as_long_as_the_apps_exist() -> None:
    first, second = Carboy("first"), Carboy("second")
    first.secret_key, second.secret_key = "first-key-1", "second-key-2"
    assert mask_text("first-key-1, second-key-2") == f"{MASK}, {MASK}"
    config = Carboy("third").config
    config["SECRET_KEY"] = "third-key-3"
    assert mask_text("third-key-3") == MASK
    del config
    first.config["ANY"] = 1
    assert mask_text("third-key-3, second-key-2") == f"third-key-3, {MASK}"


@pytest.mark.parametrize(
    ("name", "value", "change"),
    [
        ("API_TOKENS", [], lambda value: value.append(KEY)),
        ("API_TOKENS", ["first-key-1"], lambda value: value.__setitem__(0, KEY)),
        ("SECRET_KEYS", set(), lambda value: value.add(KEY)),
        ("DB", {}, lambda value: value.update(PASSWORD=KEY)),
        ("DB", {"PASSWORD": "first-key-1"}, lambda value: value.update(PASSWORD=KEY)),
        ("DBS", [{"TOKENS": ["first-key-1"]}], lambda value: value[0]["TOKENS"].append(KEY)),
    ],
)
def test_secret_is_known_although_a_container_was_changed_in_place(
    name: str, value: t.Any, change: t.Callable[[t.Any], object]
) -> None:
    app = Carboy(__name__)
    app.config[name] = value
    assert mask_text(KEY) == KEY
    change(value)
    assert mask_text(KEY) == MASK


def test_variable_that_is_set_later_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_NAME", "1")
    monkeypatch.setenv("FIRST_API_KEY", "first-key-1")
    assert mask_text(f"first-key-1 {KEY} third-key-3") == f"{MASK} {KEY} third-key-3"
    monkeypatch.delenv("SOME_NAME")
    monkeypatch.setenv("SECOND_API_KEY", KEY)
    assert mask_text(f"first-key-1 {KEY} third-key-3") == f"{MASK} {MASK} third-key-3"
    monkeypatch.setenv("FIRST_API_KEY", "third-key-3")
    assert mask_text(f"first-key-1 {KEY} third-key-3") == f"first-key-1 {MASK} {MASK}"
    monkeypatch.delenv("SECOND_API_KEY")
    assert mask_text(KEY) == KEY


def test_longer_of_two_overlapping_secrets_is_masked_whole() -> None:
    app = Carboy(__name__)
    app.config.update(SECRET_KEY=KEY, API_KEY=f"{KEY}-and-more")
    assert mask_text(f"{KEY}-and-more") == MASK


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{!r}".format,
        "%s".__mod__,
        lambda config: repr(copy.copy(config)),
        lambda config: repr(copy.deepcopy(config)),
        lambda config: repr(config.copy()),
        pprint.pformat,
        ascii,
    ],
)
@pytest.mark.parametrize("key", [KEY, "dev-17", b"dev-17"])
def test_printed_config_and_printed_copies_show_no_key(
    show: t.Callable[[t.Any], str], key: str | bytes
) -> None:
    app = Carboy(__name__)
    app.config.update(SECRET_KEY=key, SECRET_KEY_FALLBACKS=[key])
    shown = show(app.config)
    assert "SECRET_KEY" in shown
    assert KEY not in shown
    assert "dev-17" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "GET http://127.0.0.1:5000/?email=ada@example.com took 3 ms",
        '{"url":"http://127.0.0.1:5000","email":"ada@example.com"}',
        "GET /search?keyword=shoes&design=2&assigned=1",
        "tokenizer='bert-base' loaded",
        '{"tokenizer": "bert-base"}',
    ],
)
def test_message_without_a_secret_is_left_as_it_is(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "http://ada:canary@127.0.0.1:5000/",
        "postgres://ada:12/canary@db",
        "https://shop.example/?x-signature=canary&keyword=1",
        "https://shop.example/?sign=canary",
    ],
)
def test_secret_in_a_url_is_masked(text: str) -> None:
    assert "canary" not in mask_text(text)


@dataclasses.dataclass
class InDataclass:
    host: str
    password: str


class InTuple(t.NamedTuple):
    host: str
    password: str


@attrs.define
class InAttrs:
    host: str
    password: str


class InStruct(msgspec.Struct):
    host: str
    password: str


class InPydantic(pydantic.BaseModel):
    host: str
    password: str

    def __init__(self, host: str, password: str) -> None:
        super().__init__(host=host, password=password)


each_kind = pytest.mark.parametrize(
    "kind", [InDataclass, InTuple, InAttrs, InStruct, InPydantic], ids=lambda each: each.__name__
)


@each_kind
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: {"main": x}])
def test_secret_in_an_object_with_fields_is_masked(
    kind: t.Callable[..., t.Any], wrap: t.Callable[[t.Any], t.Any]
) -> None:
    app = Carboy(__name__)
    app.config["DATABASE"] = wrap(kind("db", KEY))
    shown = repr(app.config)
    assert f"{{'host': 'db', 'password': '{MASK}'}}" in shown
    assert KEY not in shown
    assert mask_text(f"connect with {KEY}") == f"connect with {MASK}"


@dataclasses.dataclass(eq=False)
class Linked:
    name: str
    others: list[Linked] = dataclasses.field(default_factory=list)


class Expired(InDataclass):
    """An object whose fields are properties that ask a database, as those of an ORM."""

    @property
    def password(self) -> str:
        raise RuntimeError("the session is closed")

    @password.setter
    def password(self, value: str) -> None:
        pass


def test_fields_are_read_without_running_code_of_the_object() -> None:
    app = Carboy(__name__)
    app.config["USER"] = Expired("db", "")
    assert "{'host': 'db'}" in repr(app.config)
    assert mask_text(KEY) == KEY


@dataclasses.dataclass
class Sized(InDataclass):
    """An object whose length is that of a pool of connections, which may be closed."""

    def __len__(self) -> int:
        raise RuntimeError("the pool is closed")


class Closed(dict[str, t.Any]):
    """A dict that reads a database, which may be closed."""

    def items(self) -> t.NoReturn:
        raise RuntimeError("the database is closed")


@pytest.mark.parametrize("value", [Sized("db", ""), Closed(host="db")], ids=["object", "dict"])
def test_request_is_answered_although_code_of_a_value_in_the_config_fails(value: object) -> None:
    # The app has served a request, so it may exist for a while after this test.
    key = "0th3r-k3y-0f-th1s-t3st"
    app = Carboy(__name__)
    app.config.update(POOL=value, OTHER={"api_key": key})
    app.add_url_rule("/", view_func=lambda: app.logger.error(key) or "")
    assert app.test_client().get("/").status_code == 200
    assert mask_text(key) == MASK


def test_length_of_an_object_under_a_secret_name_is_not_asked() -> None:
    assert masked({"POOL_KEY": Sized("db", KEY)}) == {"POOL_KEY": MASK}


class Point(t.NamedTuple):
    x: int
    y: int


@dataclasses.dataclass(frozen=True)
class Origin:
    url: str


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({Point(1, 2)}, [{"x": 1, "y": 2}]),
        (frozenset([Origin("redis://:pw@h")]), [{"url": f"redis://:{MASK}@h"}]),
        ({(1, Point(1, 2))}, [(1, {"x": 1, "y": 2})]),
        ([frozenset([Point(1, 2)])], [[{"x": 1, "y": 2}]]),
        ({1, (2, 3)}, {1, (2, 3)}),
    ],
    ids=str,
)
def test_set_of_objects_with_fields_is_shown_as_a_list(value: object, shown: object) -> None:
    app = Carboy(__name__)
    app.config["SHOWN"] = value
    assert masked(app.config)["SHOWN"] == shown
    assert "'SHOWN'" in repr(app.config)


class Slow(dict[str, t.Any]):
    """A dict that stops each thread that reads it, until its event is set."""

    def __init__(self, events: dict[str, threading.Event]) -> None:
        super().__init__()
        self.events = events

    def items(self) -> t.Any:
        if (event := self.events.get(threading.current_thread().name)) is not None:
            event.wait(20)
        return super().items()


def test_threads_that_search_at_the_same_time_find_all_secrets() -> None:
    events = {name: threading.Event() for name in ("first", "second")}
    app = Carboy(__name__)
    app.config.update(DATABASE=InDataclass("db", KEY), SLOW=Slow(events))
    threads = [
        threading.Thread(target=mask_text, args=("a text",), name=name, daemon=True)
        for name in events
    ]
    for each in threads:
        each.start()
    for each in threads:
        events[each.name].set()
        each.join(20)
        assert mask_text(f"connect with {KEY}") == f"connect with {MASK}"


def test_objects_that_refer_to_each_other_are_shown_in_part_and_searched_once() -> None:
    friends = [Linked(str(number)) for number in range(12)]
    for each in friends:
        each.others = friends
    chain = Linked(KEY)
    for _ in range(5000):
        chain = Linked("link", [chain])
    app = Carboy(__name__)
    app.config.update(USER=friends[0], CHAIN=chain, LAST={"api_key": KEY})
    assert mask_text(KEY) == MASK
    assert len(repr(app.config)) < 2_000_000
    assert repr(app.config).count("link") < 9


def test_attributes_of_other_objects_are_not_read() -> None:
    class Document:
        _fields: t.ClassVar[dict[str, str]] = {"password": "text"}

        @property
        def password(self) -> str:
            raise AssertionError("a database is asked")

    document = Document()
    app = Carboy(__name__)
    app.config["DOCUMENT"] = document
    assert masked(app.config)["DOCUMENT"] is document
    assert mask_text(KEY) == KEY


@pytest.mark.parametrize("kind", [InDataclass, InAttrs, InStruct, InPydantic])
def test_secret_that_is_set_in_an_object_later_is_known(kind: t.Callable[..., t.Any]) -> None:
    app = Carboy(__name__)
    app.config["DATABASES"] = [{"main": kind("db", "")}]
    assert mask_text(KEY) == KEY
    app.config["DATABASES"][0]["main"].password = KEY
    assert mask_text(KEY) == MASK


def test_copy_of_a_config_is_equal_and_independent() -> None:
    app = Carboy(__name__)
    app.secret_key = KEY
    copied = app.config.copy()
    assert copied == app.config
    copied["SECRET_KEY"] = "other"
    assert app.secret_key == KEY


@pytest.mark.parametrize(
    "part",
    [
        *(
            "a",
            "key",
            "token",
            "?key",
            "&token=",
            "token ",
            "a://:",
            "@a://:",
            "https://a",
            "token='",
        ),
        *(
            "x://",
            "-----BEGIN ",
            "-----BEGIN PRIVATE KEY-----",
            "&quot;token",
            "password\\",
            "secret=",
            "secret: a",
            "authorization: basic ",
            "key=' ",
        ),
    ],
)
def test_long_text_of_a_client_is_masked_in_time_that_grows_with_its_length(part: str) -> None:
    def work(length: int) -> float:
        text = (part * (length // len(part))) + " @ :// ? & = ' : -----BEGIN "
        begin_s = time.thread_time()
        for _ in range(100_000 // length):
            masked(text)  # which calls `mask_text`, too
        return time.thread_time() - begin_s

    # As many characters in all, in texts that are 16 times as long.
    assert min(work(64_000) for _ in range(3)) < 8 * min(work(4_000) for _ in range(3)) + 0.02


def test_secret_that_is_added_to_a_dict_with_fields_is_masked():
    app = Carboy("fields")

    @dataclasses.dataclass
    class Options(dict):
        DB_PASSWORD: str = "first-s3cr3t-value"

    app.config["OPTIONS"] = options = Options()
    options["DB_PASSWORD"] = "first-s3cr3t-value"
    assert "first-s3cr3t-value" not in mask_text("x first-s3cr3t-value")
    options["API_TOKEN"] = "Zz81mmQpT5wE"
    assert mask_text("x Zz81mmQpT5wE") == f"x {MASK}"
