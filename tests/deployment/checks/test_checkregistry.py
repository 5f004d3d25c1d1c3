"""Rules for all checks: codes, texts, tests."""

from __future__ import annotations

import pathlib
import re

import pytest

from carboy import Carboy
from carboy.deployment.checks import checkregistry
from carboy.deployment.checks.checkregistry import all_checks, check, run_checks
from carboy.deployment.facts import Facts
from carboy.errors import DeploymentError
from carboy.serving.settings import make_settings

TESTS = pathlib.Path(__file__).parent
CODES = [each.code for each in all_checks()]


def facts_of(app: Carboy, root=".") -> Facts:
    return Facts(app, None, str(root), make_settings({}, {}))


@pytest.mark.parametrize("each", all_checks(), ids=CODES)
def test_code_severity_and_texts_have_their_form(each):
    assert re.fullmatch(r"carboy\.[EW]\d{3}", each.code)
    assert each.severity == {"E": "error", "W": "warning"}[each.code[7]]
    assert each.title[0].isupper() or each.title[0] in "`'"
    for text in (each.title, each.remedy):
        assert text.endswith(".")
        assert "|" not in text, "it stands in a table of the documentation"
        assert "  " not in text


@pytest.mark.parametrize("code", CODES)
def test_each_check_has_a_test(code):
    assert any(code in path.read_text(encoding="utf-8") for path in TESTS.glob("test_*.py"))


def test_code_is_not_used_twice():
    with pytest.raises(ValueError, match=r"carboy\.E001"):
        check("carboy.E001", "Another mistake.", remedy="Correct it.")(lambda facts: ())


def test_checks_for_production_are_made_only_if_asked(tmp_path):
    app = Carboy(__name__)
    app.debug = True

    def codes(*, deploy):
        return [each.code for each in run_checks(facts_of(app, tmp_path), deploy=deploy).shown]

    assert "carboy.E001" in codes(deploy=True)
    assert "carboy.E001" not in codes(deploy=False)


def test_silenced_code_is_kept_apart(tmp_path):
    app = Carboy(__name__)
    app.debug = True
    app.config["CHECK_SILENCED"] = ["carboy.E001"]
    findings = run_checks(facts_of(app, tmp_path), deploy=True)
    assert "carboy.E001" not in [each.code for each in findings.shown]
    assert [each.code for each in findings.silenced] == ["carboy.E001"]


def test_variable_that_the_app_does_not_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CARBOY_CHECK_SILENCED", "carboy.E001")
    app = Carboy(__name__)
    with pytest.raises(DeploymentError, match=r"CARBOY_CHECK_SILENCED has no effect"):
        run_checks(facts_of(app, tmp_path), deploy=False)
    app.config.from_project(tmp_path)
    app.debug = True
    findings = run_checks(facts_of(app, tmp_path), deploy=True)
    assert [each.code for each in findings.silenced] == ["carboy.E001"]


def test_place_and_message_are_printable_lines(tmp_path):
    each = all_checks()[0]._replace(find=lambda facts: [("a\n\x1b[2J\udcff.py", "b\n")])
    (found,) = each.findings(facts_of(Carboy(__name__), tmp_path))
    assert (found.place, found.message) == ("a\\n\\x1b[2J\\udcff.py", "b\\n")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["carboy.E01"], r"CHECK_SILENCED: there is no check 'carboy\.E01'\. Did you mean"),
        ("carboy.E001", r"CHECK_SILENCED: expected a list of codes"),
        ([1], r"CHECK_SILENCED: expected a list of codes"),
        (5, r"CHECK_SILENCED: expected a list of codes"),
    ],
)
def test_value_that_silences_nothing_is_refused(value, message, tmp_path):
    app = Carboy(__name__)
    app.config["CHECK_SILENCED"] = value
    with pytest.raises(DeploymentError, match=message):
        run_checks(facts_of(app, tmp_path), deploy=False)


WRONG = {
    "MAX_CONTENT_LENGTH": ("16MB", {"carboy.W005", "carboy.W010"}),
    "SERVER_NAME": (5, {"carboy.E105", "carboy.W104"}),
    "ACCESS_KEYS_FILE": (5, {"carboy.E105", "carboy.W104"}),
    "STRICT_HEADERS": ("text", {"carboy.E105", "carboy.W104"}),
}


@pytest.mark.parametrize("silenced", [[], ["carboy.E002"]])
@pytest.mark.parametrize("key", WRONG)
def test_checks_that_fail_for_a_wrong_value_are_named(tmp_path, key, silenced):
    value, codes = WRONG[key]
    app = Carboy(__name__, root_path=str(tmp_path))
    app.config.update({key: value, "CHECK_SILENCED": silenced})
    findings = run_checks(facts_of(app, tmp_path), deploy=True)
    assert codes <= set(findings.not_made)
    assert findings.has_wrong_config


def test_error_of_a_check_is_raised_if_the_configuration_is_right(tmp_path, monkeypatch):
    wrong = all_checks()[-1]._replace(find=lambda facts: [1 / 0])
    monkeypatch.setattr(checkregistry, "all_checks", lambda: [wrong])
    with pytest.raises(ZeroDivisionError):
        run_checks(facts_of(Carboy(__name__), tmp_path), deploy=True)
