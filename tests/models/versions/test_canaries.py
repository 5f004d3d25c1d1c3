"""A canary computes its share of the requests, chosen by a key of the request."""

from __future__ import annotations

import io
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelversions import Counting, write_version

from carboy.models.versions.canaries import CanaryRouter


class FakeRequest(t.NamedTuple):
    body: bytes
    headers: dict[str, str] = {}

    def raw(self) -> bytes:
        return self.body

    def header(self, name: str) -> str:
        return self.headers.get(name, "")


def router(shares: dict[str, float], header: str | None = None, model: str = "m") -> CanaryRouter:
    found = CanaryRouter(model, shares, header)
    found.loaded = {name: name for name in shares}
    return found


def versions(client, xs: range, **options: t.Any) -> list[str]:
    """Return the versions that have computed some inputs."""
    answers = [client.post("/m", json=x, **options) for x in xs]
    assert [each.json.partition(":")[2] for each in answers] == [str(x) for x in xs]
    assert all(each.json.partition(":")[0] == each.headers["X-Model-Version"] for each in answers)
    return [each.headers["X-Model-Version"] for each in answers]


# --- which requests ------------------------------------------------------------------------------


def test_canaries_get_their_shares_of_different_bodies():
    found = [router({"7": 0.1, "8": 0.3}).find(FakeRequest(b"%d" % i)) for i in range(10_000)]
    assert 900 < found.count("7") < 1100
    assert 2800 < found.count("8") < 3200
    assert found.count(None) == 10_000 - found.count("7") - found.count("8")


@given(st.binary(), st.floats(0.01, 0.5), st.floats(0.0, 0.5))
def test_request_stays_with_a_canary_whose_share_is_raised(body, share, more):
    request = FakeRequest(body)
    before = router({"7": share}).find(request)
    after = router({"7": share + more}).find(request)
    assert before is None or after == before


@given(st.binary(), st.lists(st.sampled_from("abcXYZ0123456789-"), min_size=9, max_size=70))
def test_boundary_of_a_form_does_not_decide(content, characters):
    def form(boundary: str) -> FakeRequest:
        part = b'\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + content
        mark = b"--" + boundary.encode()
        body = mark + part + b"\r\n" + mark + b"--\r\n"
        return FakeRequest(body, {"Content-Type": f'multipart/form-data; boundary="{boundary}"'})

    found = router({"7": 0.5})
    assert found.find(form("".join(characters))) == found.find(form("other"))


@given(st.text(min_size=1), st.lists(st.binary(), min_size=2, max_size=5))
def test_requests_with_the_same_key_in_the_header_get_the_same_version(user, bodies):
    routed = router({"7": 0.5}, "X-User")
    assert len({routed.find(FakeRequest(each, {"X-User": user})) for each in bodies}) == 1


def test_models_with_the_same_share_choose_different_requests():
    requests = [FakeRequest(b"%d" % i) for i in range(1000)]
    one, other = router({"7": 0.5}), router({"7": 0.5}, model="n")
    assert [one.find(each) for each in requests] != [other.find(each) for each in requests]


# --- which versions ------------------------------------------------------------------------------


def test_canary_does_not_become_the_current_version_by_itself(declare, app, store):
    for name in "67":
        write_version(store, name)
    model = declare(canary={"7": 0.5})
    model.load()
    assert model.version == "6"
    assert {each["version"]: each["state"] for each in model.versions.states()} == {
        "6": "serving",
        "7": "canary",
    }
    client = app.test_client()
    seen = versions(client, range(40))
    assert set(seen) == {"6", "7"}
    assert versions(client, range(40)) == seen
    assert model.predict(1) == "6:1"  # a call has no key


def test_header_decides_if_the_request_has_it(declare, app, store):
    for name in "67":
        write_version(store, name)
    declare(canary={"7": 0.5}, canary_key="X-User").load()
    client = app.test_client()
    by_user = [set(versions(client, range(5), headers={"X-User": str(user)})) for user in range(20)]
    assert all(len(each) == 1 for each in by_user)
    assert set.union(*by_user) == {"6", "7"}
    assert set(versions(client, range(20))) == {"6", "7"}


def test_canary_of_uploaded_files_is_chosen_by_their_bytes(app, store):
    from carboy import Upload

    class Sized(Counting):
        alive: t.ClassVar[list[str]] = []

        def predict(self, file: Upload) -> str:  # type: ignore[override]
            return f"{self.name}:{len(file.stream.read())}"

    for name in "67":
        write_version(store, name)
    app.model("/m", name="m", source=str(store), canary={"7": 0.5})(Sized)
    app.load_models()
    answers = [
        app.test_client().post("/m", data={"file": (io.BytesIO(bytes(x)), "a.bin")})
        for x in range(20)
    ]
    assert {each.headers["X-Model-Version"] for each in answers} == {"6", "7"}
    assert [each.json.partition(":")[2] for each in answers] == [str(x) for x in range(20)]
    app.models.close()


def test_canary_that_is_switched_to_becomes_current_and_is_not_loaded_again(declare, app, store):
    for name in "67":
        write_version(store, name)
    model = declare(canary={"7": 0.5})
    model.load()
    loaded = model.versions.canaries.loaded["7"]
    model.versions.source.choose("7")
    model.versions.refresh()
    assert model.current is loaded
    assert (model.target.alive, set(versions(app.test_client(), range(20)))) == (["7"], {"7"})
    model.versions.source.choose("6")
    model.versions.refresh()
    assert set(versions(app.test_client(), range(20))) == {"6", "7"}


def test_canary_that_appears_later_fails_or_goes_leaves_the_current_version_alone(
    declare, app, store, caplog
):
    import shutil

    write_version(store, "6")
    model = declare(canary={"7": 1.0})
    model.load()
    assert "there is no version '7' in " in caplog.text
    client = app.test_client()
    assert set(versions(client, range(5))) == {"6"}
    write_version(store, "7", fails="init")
    model.versions.refresh()
    assert "version '7' is not served" in caplog.text
    assert set(versions(client, range(5))) == {"6"}
    shutil.rmtree(store / "7")
    write_version(store, "7")
    model.versions.refresh()
    assert set(versions(client, range(5))) == {"7"}
    shutil.rmtree(store / "7")
    model.versions.refresh()
    assert set(versions(client, range(5))) == {"6"}
    assert model.target.alive == ["6"]


def test_closed_model_has_no_canary_left(declare, store):
    for name in "67":
        write_version(store, name)
    model = declare(canary={"7": 0.5})
    model.load()
    model.close()
    assert model.target.alive == []


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"canary": {"7": 0}}, "expected shares"),
        ({"canary": {"../7": 0.5}}, "'../7' cannot be the name of a version"),
        ({"shadow": "../7"}, "'../7' cannot be the name of a version"),
        ({"canary": {"7": True}}, "expected shares"),
        ({"canary": {7: 0.5}}, "expected shares"),
        ({"canary": {"7": 0.6, "8": 0.5}}, "together at most 1"),
        ({"canary": ["7"]}, "expected shares"),
        ({"canary": {"7": float("nan")}}, "expected shares"),
        ({"canary": {"7": 0.5}, "canary_key": "X User"}, "name of a request header"),
        ({"canary_key": "X-User"}, "no effect without canary"),
        ({"shadow": 7}, "expected a version"),
        ({"shadow": "7", "canary": {"7": 0.5}}, "nothing to be compared with"),
        ({"canary": {"7": 0.5}, "source": None}, "no effect without source"),
        ({"shadow": "7", "source": None}, "no effect without source"),
    ],
)
def test_options_that_make_no_sense_are_refused(app, store, options, said):
    with pytest.raises(ValueError, match=said):
        app.model("/m", name="m", **{"source": str(store), **options})(Counting)
