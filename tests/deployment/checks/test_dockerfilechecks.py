"""Mistakes in Dockerfiles: each check finds its mistake, and nothing in a project without it."""

from __future__ import annotations

import pathlib

import pytest
from checkfindings import findings_of

from carboy import Carboy


def found(code: str, root: pathlib.Path) -> list[tuple[str, str]]:
    findings = findings_of(code, Carboy(__name__, root_path=str(root)), root)
    return [(each.place, each.message) for each in findings]


def write_dockerfile(root: pathlib.Path, *lines: str) -> None:
    (root / "Dockerfile").write_text("\n".join(("FROM python:3.11-slim", *lines, "")))


# --- carboy.E112 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ENV SECRET_KEY=abc", "ENV SECRET_KEY is"),
        ("ENV SECRET_KEY abc def", "ENV SECRET_KEY is"),
        ("env PORT=8000 \\\n    DB_PASSWORD='a b'", "ENV DB_PASSWORD is"),
        ("ENV SECRET_KEY=$SECRET_KEY", "ENV SECRET_KEY is"),
        ("ARG API_TOKEN", "ARG API_TOKEN is"),
        ("ARG SECRET_KEY=abc", "ARG SECRET_KEY is"),
    ],
)
def test_secret_in_a_dockerfile_is_found(tmp_path, line, message):
    write_dockerfile(tmp_path, line)
    ((place, text),) = found("carboy.E112", tmp_path)
    assert place == "Dockerfile:2"
    assert text == f"{message} stored in the image."


@pytest.mark.parametrize(
    "line",
    [
        "ENV PORT=8000 PYTHONUNBUFFERED=1",
        "ENV SECRET_KEY=",
        "ENV SECRET_KEY_FILE=/run/secrets/key",
        "ENV TOKENIZERS_PARALLELISM=false",
        "ENV GPG_KEY=A035C8C19219BA821ECEA86B64E628F8D684696D",
        "ENV JWT_PUBLIC_KEY=abc",
        "RUN --mount=type=secret,id=SECRET_KEY make",
        "# ENV SECRET_KEY=abc",
    ],
)
def test_dockerfile_without_secrets_is_not_reported(tmp_path, line):
    write_dockerfile(tmp_path, line)
    assert found("carboy.E112", tmp_path) == []


# --- carboy.E113 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "COPY .env /app/",
        "COPY app.py .env ./",
        "COPY --chown=app ./.env.production .env",
        'COPY [".env", "/app/"]',
        "ADD .env .",
    ],
)
def test_copy_of_an_env_file_is_found(tmp_path, line):
    write_dockerfile(tmp_path, line)
    assert [place for place, _ in found("carboy.E113", tmp_path)] == ["Dockerfile:2"]


@pytest.mark.parametrize("line", ["COPY . .", "COPY ./ /app", "ADD . /app", "COPY --link * ."])
@pytest.mark.parametrize("ignored", [None, "", "__pycache__\n", ".env\n!.env\n", "#.env\n"])
def test_copy_of_all_files_is_found_if_the_env_file_is_among_them(tmp_path, line, ignored):
    write_dockerfile(tmp_path, line)
    if ignored is not None:
        (tmp_path / ".dockerignore").write_text(ignored)
    assert found("carboy.E113", tmp_path) == []
    (tmp_path / ".env").write_text("")
    ((place, message),) = found("carboy.E113", tmp_path)
    assert place == "Dockerfile:2"
    assert "as .dockerignore does not exclude it" in message


@pytest.mark.parametrize(
    "ignored", [".env", "/.env", "**/.env", ".env*", "**/.env*", "*", ".*", "!x\n  .env  "]
)
def test_env_file_that_dockerignore_excludes_is_not_reported(tmp_path, ignored):
    write_dockerfile(tmp_path, "COPY . .")
    (tmp_path / ".env").write_text("")
    (tmp_path / ".dockerignore").write_text(f"{ignored}\n")
    assert found("carboy.E113", tmp_path) == []


@pytest.mark.parametrize("path", [".flaskenv", "shop/.flaskenv"])
@pytest.mark.parametrize("copied", [None, "."])
def test_flaskenv_is_found_only_with_secrets(tmp_path, path, copied):
    write_dockerfile(tmp_path, f"COPY {copied or path} .")
    (tmp_path / "shop").mkdir()
    (tmp_path / path).write_text("FLASK_APP=shop\nFLASK_ENV=development\nSECRET_KEY=\n")
    assert found("carboy.E113", tmp_path) == []
    (tmp_path / path).write_text("FLASK_APP=shop\nSECRET_KEY=x\n")
    ((place, message),) = found("carboy.E113", tmp_path)
    assert place == "Dockerfile:2"
    assert path in message


@pytest.mark.parametrize("path", ["shop.env", "prod.env", ".env.prod", "deploy/prod.env"])
@pytest.mark.parametrize("ignored", [".env\n", ".env\n*.prod\n.flask\nprod\n"])
def test_other_files_with_variables_are_found(tmp_path, path, ignored):
    write_dockerfile(tmp_path, "COPY . .")
    (tmp_path / "deploy").mkdir()
    (tmp_path / path).write_text("")
    (tmp_path / ".env.example").write_text("")
    (tmp_path / ".dockerignore").write_text(f"{ignored}x\n")
    is_excluded = path == ".env.prod" and "*.prod" in ignored
    places = [] if is_excluded else [f"COPY . puts {path} into the image"]
    messages = [message.partition(", as")[0] for _, message in found("carboy.E113", tmp_path)]
    assert messages == places


@pytest.mark.parametrize(
    "line", ["**/*.env", "deploy", "/deploy/", "*/prod.env", "**/p?o[a-d].env"]
)
def test_pattern_that_excludes_a_file_in_a_folder_is_understood(tmp_path, line):
    write_dockerfile(tmp_path, "COPY . .")
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "prod.env").write_text("")
    (tmp_path / ".dockerignore").write_text("*.env\nprod.env\n")
    assert len(found("carboy.E113", tmp_path)) == 1
    (tmp_path / ".dockerignore").write_text(f"{line}\n")
    assert found("carboy.E113", tmp_path) == []
    (tmp_path / ".dockerignore").write_text(f"{line}\n!deploy/prod.env\n")
    assert len(found("carboy.E113", tmp_path)) == 1


@pytest.mark.parametrize("line", ["[z-a]*", "[^]*", "[b-a]", "x[z-a"])
def test_pattern_that_docker_refuses_excludes_nothing(tmp_path, line):
    write_dockerfile(tmp_path, "COPY . .")
    (tmp_path / ".env").write_text("")
    (tmp_path / ".dockerignore").write_text(f"{line}\n")
    assert len(found("carboy.E113", tmp_path)) == 1


@pytest.mark.parametrize("line", ["[[.]env", "[.&&]env", "[^a]env", "[~~.]env"])
def test_brackets_have_no_other_characters_of_regular_expressions(tmp_path, line):
    write_dockerfile(tmp_path, "COPY . .")
    (tmp_path / ".env").write_text("")
    (tmp_path / ".dockerignore").write_text(f"{line}\n")
    assert found("carboy.E113", tmp_path) == []


def test_dockerignore_of_one_dockerfile_comes_before_that_of_all(tmp_path):
    write_dockerfile(tmp_path, "COPY . .")
    (tmp_path / ".env").write_text("")
    (tmp_path / "Dockerfile.dockerignore").write_text("# COPY . .\n.env\n")
    assert found("carboy.E113", tmp_path) == []
    (tmp_path / "Dockerfile.dockerignore").write_text("COPY . .\n")
    (tmp_path / ".dockerignore").write_text(".env\n")
    assert [place for place, _ in found("carboy.E113", tmp_path)] == ["Dockerfile:2"]


@pytest.mark.parametrize("line", ["COPY app.py .", "COPY src/ .", "COPY --from=build . .", "COPY"])
def test_copy_of_other_files_is_not_reported(tmp_path, line):
    write_dockerfile(tmp_path, line)
    (tmp_path / ".env").write_text("")
    assert found("carboy.E113", tmp_path) == []


# --- carboy.W114 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode", ["777", "-R 777", "0777", "666", "a+rwx", "o+w", "ugo=rwx", "-R -v o=rw", "772"]
)
@pytest.mark.parametrize("path", ["Dockerfile", "deploy.sh"])
def test_mode_for_every_user_is_found(tmp_path, mode, path):
    (tmp_path / path).write_text(f"\nRUN mkdir x && chmod {mode} x\n")
    ((place, message),) = found("carboy.W114", tmp_path)
    assert place == f"{path}:2"
    assert message == f"'chmod {mode.split()[-1]}' lets every user change it."


@pytest.mark.parametrize(
    "command",
    ["chmod 755 x", "chmod 1777 /tmp", "chmod +x x", "chmod u+w x", "chmod go-w x", "chmod a+rx x"],
)
def test_other_modes_are_not_reported(tmp_path, command):
    write_dockerfile(tmp_path, f"RUN {command}")
    assert found("carboy.W114", tmp_path) == []
