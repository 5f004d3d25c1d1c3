"""What the page shows in a real Chromium: results of each type, streams, errors."""

from __future__ import annotations

import pytest
import tryout
from trying import DROP, answered, facts, file_of, png, predict, raw

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(120)]


def test_picture_is_shown_as_a_picture(visit):
    page = visit("/invert")
    page.locator(".drop").evaluate(DROP, file_of(png((50, 40))))
    page.get_by_text("50 × 40").wait_for()
    predict(page)
    image = page.locator(".result img")
    assert image.evaluate("image => image.decode().then(() => image.naturalHeight)") == 40
    assert image.get_attribute("src").startswith("blob:")


def test_result_that_only_claims_to_be_a_picture_is_not_drawn(visit):
    page = visit("/invert")
    page.route(
        "**/invert",
        lambda route: (
            route.fulfill(
                content_type="image/svg+xml",
                body="<svg xmlns='http://www.w3.org/2000/svg' onload='document.title=1'/>",
            )
            if route.request.method == "POST"
            else route.continue_()
        ),
    )
    page.locator(".drop").evaluate(DROP, file_of(png()))
    page.get_by_text("30 × 20").wait_for()
    predict(page)
    assert page.locator("#answer img, #answer svg").count() == 0
    assert "<svg" in page.locator("#answer pre").inner_text()


def test_first_hundred_of_many_rows_are_shown(visit):
    page = visit("/many")
    page.get_by_label("n", exact=True).fill("120")
    predict(page)
    assert page.locator("#answer tbody tr").count() == 100
    assert "the first 100 are shown" in page.locator("#answer .state").inner_text()
    assert len(raw(page)) == 120


def test_nested_numbers_are_summarised(visit):
    page = visit("/matrix")
    page.get_by_label("n", exact=True).fill("12")
    predict(page)
    assert (facts(page)["Shape"], facts(page)["Mean"]) == ("12 × 12", "71.5")
    assert not page.locator("#answer details").first.evaluate("each => each.open")


def test_numbers_are_shortened_behind_the_point_only(visit):
    page = visit("/total")
    bodies = iter(("50144.94278502536", "-123.456", "12.3456", "0.0123456", "7"))
    page.route(
        "**/total",
        lambda route: (
            route.fulfill(content_type="application/json", body=next(bodies))
            if route.request.method == "POST"
            else route.continue_()
        ),
    )
    page.get_by_label("numbers").fill("1 2")
    for shown in ("50144.94", "-123.46", "12.35", "0.01235", "7"):
        predict(page)
        page.locator("#answer .big").get_by_text(shown, exact=True).wait_for()


def test_stream_is_shown_while_it_arrives(visit):
    page = visit("/tell")
    predict(page)
    text = page.locator(".stream").inner_text()
    assert text.startswith("Tell me: <img src=x")
    assert text.rstrip().endswith("4")
    assert page.get_by_role("status").inner_text().startswith("6 parts in ")
    assert page.title() == "tell: try it"


def test_stream_can_be_stopped(visit):
    page = visit("/tell")
    page.get_by_label("parts").fill("100000")
    predict(page, "streaming")
    page.locator(".stream", has_text="2 ").wait_for()
    page.get_by_role("button", name="Stop").click()
    answered(page, "stopped")
    assert "Tell me: " in page.locator(".stream").inner_text()
    assert page.get_by_role("button", name="Stop").is_hidden()


def test_failed_stream_keeps_the_items_that_arrived(visit):
    page = visit("/tell")
    page.get_by_label("parts").fill("13")
    predict(page, "failed")
    assert "11 " in page.locator(".stream").inner_text()
    assert page.locator("#answer .problem").inner_text() == "Thirteen is too many."


def test_duration_is_shown_in_parts(visit):
    page = visit("/total")
    page.route(
        "**/total",
        lambda route: (
            route.fulfill(
                content_type="application/json",
                headers={
                    "Server-Timing": 'queue;dur=0.25, predict;dur=0.5;desc="x"',
                    "X-Batch-Size": "7",
                    "X-Model-Version": "2024-05 <b>",
                },
                body="3",
            )
            if route.request.method == "POST"
            else route.continue_()
        ),
    )
    page.get_by_label("numbers").fill("1 2")
    predict(page)
    shown = page.locator(".timing").inner_text()
    assert "in a batch of 7, version 2024-05 <b>" in shown
    assert "waiting 0.25 ms" in shown
    assert "predict 0.50 ms" in shown
    assert "network and the rest" in shown


@pytest.mark.parametrize(
    ("waited_ms", "shown"),
    [
        ("9.94", "9.9 ms"),
        ("12.5", "13 ms"),
        ("999.4", "999 ms"),
        ("999.6", "1.00 s"),
        ("1040", "1.04 s"),
        ("12345", "12.3 s"),
    ],
)
def test_durations_of_a_second_and_more_are_shown_in_seconds(visit, waited_ms, shown):
    page = visit("/total")
    page.route(
        "**/total",
        lambda route: (
            route.fulfill(
                content_type="application/json",
                headers={"Server-Timing": f"queue;dur={waited_ms}, predict;dur=0"},
                body="3",
            )
            if route.request.method == "POST"
            else route.continue_()
        ),
    )
    page.get_by_label("numbers").fill("1 2")
    predict(page)
    assert f"waiting {shown}" in page.locator(".timing").inner_text().splitlines()


# --- errors ------------------------------------------------------------------------------------


def test_error_is_shown_next_to_the_field_that_it_names(visit):
    page = visit("/iris")
    page.get_by_label("altitude", exact=True).fill("3500")
    predict(page, "failed")
    problem = page.get_by_role("alert")
    assert problem.inner_text() == "Expected a garden below the snow, got ice."
    field = page.get_by_label("altitude", exact=True)
    assert field.get_attribute("aria-invalid") == "true"
    assert page.evaluate("() => document.activeElement.labels[0].textContent") == "altitude"
    field.fill("10")
    predict(page)
    assert page.get_by_role("alert").count() == 0


def test_missing_field_is_requested_before_sending(visit):
    page = visit("/iris")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    page.get_by_label("weight").fill("")
    page.locator("#predict").click()
    assert page.get_by_role("alert").inner_text() == "A number is needed here."
    assert "POST" not in sent


def test_failure_of_the_model_reveals_no_internals(visit):
    page = visit("/fail")
    page.get_by_label("text").fill("x")
    predict(page, "failed")
    shown = page.locator("#answer").inner_text()
    assert "The model failed on this input." in shown
    assert "Request id" in shown
    assert "secret" not in shown


def test_unreachable_or_garbled_server_is_reported(visit):
    page = visit("/total")
    page.get_by_label("numbers").fill("1")
    page.route("**/total", lambda route: route.abort())
    predict(page, "failed")
    assert "cannot be reached" in page.get_by_role("status").inner_text()
    page.unroute("**/total")
    page.route("**/total", lambda route: route.fulfill(status=502, body="<h1>Bad Gateway</h1>"))
    with page.expect_response("**/total"):
        page.locator("#predict").click()
    page.get_by_text("The server behind the proxy does not answer.").wait_for()
    assert page.locator("#answer h1").count() == 0


def test_html_page_instead_of_a_result_is_reported(visit):
    page = visit("/total")
    page.route(
        "**/total", lambda route: route.fulfill(content_type="text/html", body="<h1>Log in</h1>")
    )
    page.get_by_label("numbers").fill("1")
    predict(page, "failed")
    assert "log in first" in page.locator("#answer").inner_text()
    assert page.locator("#answer h1").count() == 0


@pytest.mark.parametrize("path", ["/hostile", "/bare"])
def test_hostile_names_docs_and_results_are_shown_as_text(visit, path):
    page = visit(path)
    page.get_by_label("text").fill(tryout.HOSTILE)
    predict(page)
    page.locator("#answer summary").last.click()
    assert page.locator("img, main script, header script").count() == 0
    assert tryout.HOSTILE in page.locator("#answer").inner_text()
    assert page.title() == f"{path[1:]}: try it"
    if path == "/hostile":
        assert page.locator(".lead").inner_text() == tryout.HOSTILE
