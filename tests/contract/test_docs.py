"""The code blocks of the pages about types run, in the order of the page."""

import pathlib
import re

import pytest

DOCS = pathlib.Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["types.md", "from-fastapi.md"])
def test_code_of_the_page_runs(page):
    pytest.importorskip("PIL")
    text = (DOCS / page).read_text()
    names = {"__name__": "page"}
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    assert blocks
    for block in blocks:
        line = text.count("\n", 0, block.start()) + 1
        exec(compile("\n" * line + block[1], page, "exec"), names)


def test_responses_are_as_types_md_shows():
    text = (DOCS / "types.md").read_text()
    names = {"__name__": "page"}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[:2]:
        exec(block, names)
    answer = names["app"].test_client().post("/flowers", json={"length": "long"})
    shown = re.search(r'^(\{"title".*?\}\]\})\n', text, re.DOTALL | re.MULTILINE)[1]
    assert answer.get_json(force=True) == __import__("json").loads(shown)
