"""What README and docs say was measured is what bench/results has."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def render(program):
    return program("render")


@pytest.fixture
def prose(program):
    return program("prose")


@pytest.mark.timeout(120)
def test_pages_show_what_results_have_and_every_figure_has_a_source():
    done = subprocess.run(
        [sys.executable, BENCH / "render.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.724, "0.72"), (2.78, "2.78"), (7.24, "7.2"), (104.4, "104"), (1e4, "10,000")],
)
def test_figures_have_about_three_digits(render, value, text):
    assert render.times(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "1/25"), (1 / 8.7, "1/8.7"), (1 / 6, "1/6"), (1 / 160, "1/160"), (2e-5, "under 1/200")],
)
def test_parts_have_two_or_three_digits(render, value, text):
    assert render.part(value) == text


def test_figure_is_written_in_the_form_that_stands_there(render):
    words = "typed | post | us | carboy / FastAPI"
    assert render.figure(words, "1/2") == render.part(
        render.result("typed").ratio("post", "us", "carboy", "FastAPI").median
    )
    assert not render.figure(words, "0.5").startswith("1/")


@pytest.mark.parametrize(
    "words",
    [
        "absent | post | us | carboy / FastAPI",
        "typed | absent | us | carboy / FastAPI",
        "typed | post | us | carboy / absent",
    ],
)
def test_figure_without_a_result_is_refused(render, words):
    with pytest.raises(ValueError, match=r"there is no result of it|has no such value"):
        render.figure(words, "1/2")


def test_unknown_region_is_refused(render):
    with pytest.raises(ValueError, match="no table or plot 'absent'"):
        render.rendered("<!-- record: absent -->\n<!-- end of record -->")


def test_quick_result_is_never_shown(render, monkeypatch, tmp_path):
    text = (BENCH / "results" / "typed.json").read_text()
    (tmp_path / "hasty.json").write_text(text.replace('"quick": false', '"quick": true'))
    monkeypatch.setattr(render._results, "RESULTS", tmp_path)
    with pytest.raises(ValueError, match="quick run"):
        render.result("hasty")


def test_changed_figure_in_a_page_is_written_anew(render):
    mark = "<!-- figure: typed | post | us | carboy / FastAPI -->"
    page = f"It takes {mark}1/3<!-- end --> of the time."
    assert "1/3" not in render.rendered(page)


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("A request takes 4.5 us.", ["request takes 4.5 us"]),
        ("It takes 1/25 of Flask's time.", ["It takes 1/25 of"]),
        ("It is 16 times as fast.", ["It is 16 times as"]),
        ("It was 2 to 2.5 us before.", ["It was 2 to 2.5 us before"]),
        ("One call took 30 ms.", ["call took 30 ms"]),
        ("| carboy | 12,000 requests/s |", ["12,000 requests/s"]),
        ("| text | **1.5** | 2.3 |", ["| text | **1.5** | 2.3 |"]),
        ("| text | 1.80, 1.15 | 1.09, 0.84 |", ["| text | 1.80, 1.15 | 1.09, 0.84 |"]),
        ("| `--drain` | how long | 0.5 |", []),
        ("It waits 30 ms, then closes.", []),
        ("HTTP/1.1 and 1.1.1 are versions.", []),
        ("    us = 4.5 us", []),
        ("```\ntook 4.5 us\n```", []),
        ("at least `30 us` as text", []),
        ("3 times <!-- 4 times -->as long", ["3 times as"]),
    ],
    ids=range(15),
)  # fmt: skip
def test_measured_figures_are_found_in_sentences(prose, sentence, found):
    assert prose.figures(sentence) == found


def test_figure_is_found_in_a_wrapped_sentence(prose):
    wrapped = "Some words.\n\n* A request\n  takes\n  4.5 us here."
    assert prose.figures(wrapped) == prose.figures("A request takes 4.5 us here.")


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("The target is <!-- no measurement: a target -->1/10<!-- end -->.", []),
        ("It is <!-- no measurement: a target -->1/10<!-- end -->, and was 1/9.", ["and was 1/9"]),
        (
            "It is <!-- no measurement: never ended -->1/10.\n\n1/9<!-- end -->",
            ["It is 1/10", "1/9"],
        ),
        ("It is <!-- no measurement: -->1/10<!-- end -->.", ["It is 1/10"]),
        (
            "It was 1/9.\n<!-- no measurements: a plan -->\nIt is 1/10.\n\nIt is 1/11.",
            ["It was 1/9"],
        ),
        ("It is <!-- no measurements: a plan -->1/10.", ["It is 1/10"]),
    ],
    ids=["number", "other number", "no end", "no reason", "page", "not a line of its own"],
)
def test_number_that_is_no_measurement_is_marked_with_its_reason(prose, page, found):
    assert prose.figures(page) == found


def test_new_figure_has_no_source(program, render, monkeypatch, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "The new cache took 4.5 us, a target of <!-- no measurement: given -->5 us<!-- end -->."
    )
    monkeypatch.setattr(render.prose, "pages", lambda: [page])
    monkeypatch.setattr(render._results, "ROOT", tmp_path)
    (problem,) = (each for each in render.problems() if each.startswith("page.md"))
    assert "'cache took 4.5 us' is a measured figure that is in no result" in problem


def test_every_program_belongs_to_a_suite(program):
    run = program("run")
    tools = {"run", "render", "prose", "pins"}
    programs = {path.stem for path in BENCH.glob("*.py") if not path.name.startswith("_")}
    assert {
        suite.command.split()[0].removesuffix(".py") for suite in run.SUITES
    } == programs - tools


def test_every_result_is_of_a_suite_and_shown(program, render):
    run = program("run")
    names = {path.stem for path in (BENCH / "results").glob("*.json")}
    assert names <= run.BY_NAME.keys()
    assert run.BY_NAME.keys() <= render.REGIONS.keys()


def test_every_peer_has_pinned_versions_with_hashes(program):
    peers = program("_peers")
    for peer in peers.PEERS:
        text = (peers.PINS / f"{peer.pinned}.txt").read_text()
        pinned = re.findall(
            r"^([\w.-]+)==\S+(.*?)(?=^[\w.-]+==|\Z)", text, re.MULTILINE | re.DOTALL
        )
        assert all("--hash=sha256:" in rest for _, rest in pinned), peer.key
        names = {name.lower().replace("_", "-") for name, _ in pinned}
        needed = {re.match(r"[\w-]+", each)[0].lower().replace("_", "-") for each in peer.requires}
        assert needed <= names, peer.key


def test_line_charts_have_a_line_per_peer(program):
    drawing = program("_drawing")
    lines = [
        drawing.Line("carboy", [(1, 10.0), (10, 11.0), (100, 15.0)]),
        drawing.Line("other", [(1, 30.0), (10, 60.0), (100, 900.0)]),
    ]
    chart = drawing.Chart("Time", "routes", "us", lines)
    svg = drawing.Drawing("Time by routes", [chart], ["a note"]).svg()
    assert svg.count('stroke-width="2"') == 2
    assert "background" not in svg
    for text in ("carboy", "other", "us by routes", "a note", "1", "100"):
        assert f">{text}</text>" in svg
