"""Exceptions arrive as they were raised, and none of them can end the process of a replica."""

from __future__ import annotations

import enum
import typing as t

import msgspec
import pytest
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, HTTPException, MethodNotAllowed, Unauthorized

from carboy import Response, abort
from carboy.errors import InputError
from carboy.models.replicas.batches import decode_failure, encode_failure


class Kind(enum.Enum):
    QUOTA = "quota"


class Why(msgspec.Struct):
    code: int


class Busy(Exception):
    def __init__(self, kind: Kind, why: Why) -> None:
        super().__init__(kind, why)
        self.kind, self.why, self.lock = kind, {"list": [why, (1, {2})]}, object()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class WithoutArguments(Exception):
    @property
    def args(self) -> t.Any:
        raise RuntimeError("no arguments")


class OddAttributes(Exception):
    def __init__(self) -> None:
        vars(self)["\ud800"] = "\ud800"
        self.__notes__ = 7


class BrokenResponse(Exception):
    response = 1

    def get_response(self) -> t.NoReturn:
        raise RuntimeError


def arrived(exc: BaseException) -> BaseException:
    return decode_failure(encode_failure(exc))


def raised(*args: t.Any, **kwargs: t.Any) -> HTTPException:
    with pytest.raises(HTTPException) as caught:
        abort(*args, **kwargs)
    return caught.value


def test_arguments_and_attributes_keep_their_classes():
    found: t.Any = arrived(Busy(Kind.QUOTA, Why(7)))
    assert found.args == (Kind.QUOTA, Why(7))
    assert found.kind is Kind.QUOTA
    assert found.why == {"list": [Why(7), (1, {2})]}
    assert not hasattr(found, "lock"), "an object that cannot be sent"


def test_faults_of_an_input_arrive():
    given = InputError.at("$.x", expected="a number", got="text")
    found = arrived(given)
    assert isinstance(found, InputError)
    assert found.faults == given.faults
    assert type(found.faults[0]) is type(given.faults[0])


def test_the_response_of_an_http_exception_arrives():
    found: t.Any = arrived(raised(Response("teapot", 418, {"X-A": "1"})))
    response = found.get_response()
    assert (response.status_code, response.get_data()) == (418, b"teapot")
    assert response.headers["X-A"] == "1"


def test_the_headers_of_http_exceptions_arrive():
    challenge = WWWAuthenticate("digest", {"realm": "x", "nonce": "y"})
    for given in (
        Unauthorized("token", www_authenticate=challenge),
        Unauthorized("token"),
        MethodNotAllowed(["PUT"]),
        raised(401, "token", www_authenticate=WWWAuthenticate("basic", {"realm": "x"})),
    ):
        found: t.Any = arrived(given)
        assert type(found) is type(given)
        assert found.get_response().headers.to_wsgi_list() == (
            given.get_response().headers.to_wsgi_list()
        )


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("unknown word \ud800"), KeyError("\ud800", 1), Unprintable("x"),
        WithoutArguments(), OddAttributes(), BrokenResponse("x"), SystemExit("\ud800"),
        ExceptionGroup("\ud800", [Unprintable()]),
        BadRequest(response=Response("\N{BULLET}", 400, {"X-A": "\ud800"})),
        Unauthorized(www_authenticate=WWWAuthenticate("digest", {"realm": "\ud800"})),
    ],
    ids=lambda exc: ascii(type(exc).__name__),
)  # fmt: skip
def test_an_exception_of_any_form_arrives(exc):
    exc.__cause__ = Unprintable()
    found = arrived(exc)
    assert isinstance(found, BaseException)
    assert "In the process of the replica" in found.__notes__[-1]


def test_half_of_a_surrogate_pair_is_written_as_its_code():
    assert r"unknown word \ud800" in str(arrived(ValueError("unknown word \ud800")))
