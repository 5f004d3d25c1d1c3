"""`carboy serve` answers the requests with which other servers are compared as their list says."""

from __future__ import annotations

import deployedapp


def test_requests_have_the_expected_statuses(reference):
    expected = {asked.name: asked.status for asked in deployedapp.REQUESTS}
    assert {name: answer.status for name, answer in reference.items()} == expected


def test_same_requests_have_the_same_answers_again(served, reference):
    assert deployedapp.differences(reference, deployedapp.ask_all(served.url)) == {}


def test_nothing_of_the_inside_is_sent(reference):
    assert "secret of the inside" not in str(reference)


def test_first_item_of_a_stream_is_sent_before_the_second_is_made(served, tmp_path):
    assert deployedapp.first_item_is_sent_alone(served.url, tmp_path / "until")


def test_predictions_are_right(reference):
    assert '"digit":0' in reference["prediction of numbers"].body
    assert '"digit":7' in reference["prediction of a picture"].body
