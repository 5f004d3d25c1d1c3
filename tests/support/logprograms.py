"""Programs that configure logging in their own ways, and where a record that they log appears.

Run as a script, this module runs each program in a process of its own, which it forks, so that the
libraries are imported once. It prints how often the marker appeared, and where, as JSON.
"""

from __future__ import annotations

import json
import logging
import logging.config
import os
import pathlib
import sys
import typing as t
from logging.handlers import RotatingFileHandler

from carboy import Carboy

MARKER = "the-marker"

Log = t.Callable[[], object]


def log_by_app(app: Carboy) -> Log:
    return lambda: app.logger.warning(MARKER)


def log_by_library() -> None:
    logging.getLogger("library").warning(MARKER)


# Each program configures logging, as a module would, and returns what its view logs.


def nothing(app: Carboy) -> Log:
    return log_by_app(app)


def nothing_and_a_librarys_logger(app: Carboy) -> Log:
    return log_by_library


def basic_config(app: Carboy) -> Log:
    logging.basicConfig(filename="own.log", level=logging.INFO)
    return log_by_app(app)


def basic_config_after_the_apps_logger(app: Carboy) -> Log:
    app.logger.info("starting")
    logging.basicConfig(filename="own.log", level=logging.INFO)
    return log_by_app(app)


def basic_config_by_logging_warning(app: Carboy) -> Log:
    logging.warning("starting")  # noqa: LOG015  # adds a handler to the root logger
    return log_by_app(app)


def rotating_handler_on_the_apps_logger(app: Carboy) -> Log:
    app.logger.addHandler(RotatingFileHandler("own.log", maxBytes=10_000, backupCount=3))
    return log_by_app(app)


def rotating_handler_on_the_root_logger(app: Carboy) -> Log:
    logging.getLogger().addHandler(RotatingFileHandler("own.log", maxBytes=10_000, backupCount=3))
    return log_by_library


def rotating_handler_on_the_log_file(app: Carboy) -> Log:
    app.logger.addHandler(RotatingFileHandler("app.log", maxBytes=10_000, backupCount=3))
    app.logger.propagate = False
    return log_by_app(app)


def dict_config(app: Carboy) -> Log:
    logging.config.dictConfig({
        "version": 1,
        "handlers": {"own": {"class": "logging.FileHandler", "filename": "own.log"}},
        "root": {"handlers": ["own"], "level": "INFO"},
    })  # fmt: skip
    return log_by_app(app)


def dict_config_after_the_apps_logger(app: Carboy) -> Log:
    app.logger.info("starting")
    dict_config(app)
    app.logger.disabled = False  # `dictConfig` disables the loggers that exist
    return log_by_app(app)


def dict_config_of_the_apps_logger(app: Carboy) -> Log:
    own = {"class": "logging.FileHandler", "filename": "own.log"}
    logger = {"handlers": ["own"], "level": "INFO", "propagate": False}
    logging.config.dictConfig({
        "version": 1,
        "handlers": {"own": own},
        "loggers": {app.name: logger},
    })  # fmt: skip
    return log_by_app(app)


def structlog_by_logging(app: Carboy) -> Log:
    import structlog

    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer()],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    return lambda: structlog.get_logger("library").warning(MARKER)


def structlog_by_print(app: Carboy) -> Log:
    import structlog

    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    return lambda: structlog.get_logger().warning(MARKER)


def loguru_to_a_file(app: Carboy) -> Log:
    from loguru import logger

    logger.remove()
    logger.add("own.log")
    return lambda: logger.warning(MARKER)


def loguru_receives_from_logging(app: Carboy) -> Log:
    from loguru import logger

    class Intercept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logger.log(record.levelname, record.getMessage())

    logger.remove()
    logger.add("own.log")
    logging.basicConfig(handlers=[Intercept()], level=0, force=True)
    return log_by_library


def loguru_sends_to_logging(app: Carboy) -> Log:
    from loguru import logger

    class Propagate(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logging.getLogger(record.name).handle(record)

    logger.remove()
    logger.add(Propagate(), format="{message}")
    return lambda: logger.warning(MARKER)


def print_it(app: Carboy) -> Log:
    return lambda: print(MARKER)


PROGRAMS: list[t.Callable[[Carboy], Log]] = [
    nothing,
    nothing_and_a_librarys_logger,
    basic_config,
    basic_config_after_the_apps_logger,
    basic_config_by_logging_warning,
    rotating_handler_on_the_apps_logger,
    rotating_handler_on_the_root_logger,
    rotating_handler_on_the_log_file,
    dict_config,
    dict_config_after_the_apps_logger,
    dict_config_of_the_apps_logger,
    structlog_by_logging,
    structlog_by_print,
    loguru_to_a_file,
    loguru_receives_from_logging,
    loguru_sends_to_logging,
    print_it,
]
KEYS: dict[str, dict[str, str]] = {
    "no key": {},
    "LOG_FILE": {"LOG_FILE": "app.log"},
    "LOG_LEVEL": {"LOG_LEVEL": "INFO"},
}
# Where a record may appear: the program's own file, the file of LOG_FILE, and the two streams.
PLACES = ("own.log", "app.log", "stderr", "stdout")


def run(program: t.Callable[[Carboy], Log], keys: dict[str, str]) -> None:
    """Run a program in the current folder: its module, and a request to its view."""
    app = Carboy("shop", root_path=".")
    app.config.update(keys)
    log = program(app)
    app.add_url_rule("/", "index", lambda: str(log()))
    client = app.test_client()
    assert client.get("/", errors_stream=sys.stderr).status_code == 200


def run_in_child(program: t.Callable[[Carboy], Log], keys: dict[str, str]) -> None:
    pid = os.fork()
    if pid == 0:
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        status = 1
        try:
            run(program, keys)
            status = 0
        finally:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == 0, pathlib.Path("stderr").read_text()


def places() -> dict[str, int]:
    """Return how often the marker appears in each place of the current folder."""
    found = {}
    for name in PLACES:
        path = pathlib.Path(name)
        if path.exists() and (count := path.read_text().count(MARKER)):
            found[name] = count
    return found


def main(folder: str) -> None:
    results: dict[str, dict[str, dict[str, int]]] = {}
    for program in PROGRAMS:
        for name, keys in KEYS.items():
            here = pathlib.Path(folder, program.__name__, name.replace(" ", "-"))
            here.mkdir(parents=True)
            os.chdir(here)
            run_in_child(program, keys)
            results.setdefault(program.__name__, {})[name] = places()
    print(json.dumps(results))


if __name__ == "__main__":
    import loguru  # noqa: F401
    import structlog  # noqa: F401

    main(sys.argv[1])
