"""Known secrets in what the loggers of apps and of carboy write, whatever handlers they have."""

from __future__ import annotations

import io
import logging
import threading
import typing as t

import pytest

from carboy import Carboy
from carboy.core.logmasking import get_masked_logger, mask_failed_threads
from carboy.core.masking import MASK
from carboy.logging import default_handler

KEY = "k3y-0f-th1s-t3st-4nd-n0-0th3r"


@pytest.fixture
def app() -> Carboy:
    app = Carboy("shop_with_a_key")
    app.secret_key = KEY

    @app.get("/text")
    def text() -> str:
        raise ValueError(f"the key {app.secret_key!r} is wrong")

    @app.get("/cause")
    def cause() -> str:
        try:
            raise OSError(KEY)
        except OSError as exc:
            raise RuntimeError("hidden") from exc

    return app


@pytest.fixture
def written(app: Carboy) -> t.Iterator[io.StringIO]:
    """The text that a handler of the user writes for the app's logger."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    app.logger.addHandler(handler)
    yield stream
    app.logger.removeHandler(handler)


class Detached:
    """An object that cannot be printed, such as a row of a database whose session has ended."""

    def __repr__(self) -> str:
        raise RuntimeError("not bound to a session")


@pytest.mark.parametrize(
    "message",
    [("saved %s", Detached()), ("saved %d", Detached()), (Detached(),)],
    ids=["text", "number", "message"],
)
def test_request_is_answered_although_a_record_cannot_be_printed(
    app: Carboy,
    written: io.StringIO,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    message: tuple[t.Any, ...],
) -> None:
    # The handler of pytest raises the exception again.
    monkeypatch.setattr(app.logger, "propagate", False)
    app.add_url_rule("/", view_func=lambda: app.logger.error(*message) or "done")
    assert app.test_client().get("/").text == "done"
    assert written.getvalue() == ""
    assert "--- Logging error ---" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/text", "/cause"])
def test_traceback_in_a_log_of_the_user_shows_no_key(
    app: Carboy, written: io.StringIO, path: str
) -> None:
    assert app.test_client().get(path).status_code == 500
    assert f"Exception on {path} [GET]" in written.getvalue()
    assert "Traceback" in written.getvalue()
    assert MASK in written.getvalue()
    assert KEY not in written.getvalue()


@pytest.mark.parametrize(
    ("message", "args"),
    [
        (KEY, ()),
        ("key %s", (KEY,)),
        ("key %(key)r", ({"key": KEY},)),
        ("config %s", ({"SECRET_KEY": KEY},)),
    ],
)
def test_message_with_a_key_is_masked(
    app: Carboy, written: io.StringIO, message: str, args: tuple[t.Any, ...]
) -> None:
    app.logger.warning(message, *args)
    assert MASK in written.getvalue()
    assert KEY not in written.getvalue()


def test_arguments_that_do_not_fit_the_message_show_no_key(
    app: Carboy, written: io.StringIO
) -> None:
    app.logger.warning("%d keys", KEY)
    assert MASK in written.getvalue()
    assert KEY not in written.getvalue()


def test_record_without_a_key_is_left_as_it_is(app: Carboy) -> None:
    (masking,) = app.logger.filters
    record = logging.makeLogRecord(
        {
            "msg": "%s items",
            "args": (3,),
            "exc_info": (ValueError, ValueError("plain"), None),
        }
    )
    before = dict(vars(record))
    assert masking.filter(record) is True  # type: ignore[union-attr]
    assert vars(record) == before


def test_tools_that_collect_errors_get_the_exception_itself(app: Carboy) -> None:
    seen: list[t.Any] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.exc_info)  # type: ignore[method-assign]
    app.logger.addHandler(handler)
    try:
        app.test_client().get("/text")
    finally:
        app.logger.removeHandler(handler)
    assert KEY in str(seen[0][1])


def test_default_handler_masks_records_of_any_logger(app: Carboy) -> None:
    stream = io.StringIO()
    logger = logging.getLogger("a_library_of_the_shop")
    logger.addHandler(default_handler)
    before = default_handler.setStream(stream)
    try:
        logger.warning("sent %s", KEY)
    finally:
        default_handler.setStream(before)  # type: ignore[arg-type]
        logger.removeHandler(default_handler)
    assert stream.getvalue().endswith(f"sent {MASK}\n")


def test_filter_is_added_once() -> None:
    logger = get_masked_logger("a_logger_of_this_test")
    assert get_masked_logger("a_logger_of_this_test").filters == logger.filters
    assert len(logger.filters) == 1


@pytest.fixture
def python_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    # pytest has a hook of its own.
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)


@pytest.mark.usefixtures("python_hook")
def test_exception_that_ends_a_thread_is_printed_without_the_key(
    app: Carboy, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError(app.secret_key)

    mask_failed_threads()
    thread = threading.Thread(target=fail, name="uploader")
    thread.start()
    thread.join()
    printed = capsys.readouterr().err
    assert printed.startswith("Exception in thread uploader:\nTraceback")
    assert printed.endswith(f"ValueError: {MASK}\n")


@pytest.mark.usefixtures("python_hook")
def test_exit_of_a_thread_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    mask_failed_threads()
    thread = threading.Thread(target=exit)
    thread.start()
    thread.join()
    assert capsys.readouterr().err == ""


def test_hook_of_the_user_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", print)
    mask_failed_threads()
    assert threading.excepthook is print
