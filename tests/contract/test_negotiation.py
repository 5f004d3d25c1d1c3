from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.contract.negotiation import choose

TABLE = ("application/json", "text/csv", "application/vnd.apache.parquet")
PICTURE = ("image/png", "image/jpeg", "image/webp", "application/json")
# Accept headers of clients that do not set the header themselves.
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
IMG = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
AXIOS = "application/json, text/plain, */*"
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"


@pytest.mark.parametrize(
    ("accept", "of_table", "of_picture"),
    [
        ("", "application/json", "image/png"),
        ("*/*", "application/json", "image/png"),
        (AXIOS, "application/json", "image/png"),
        (BROWSER, "application/json", "image/webp"),
        (IMG, "application/json", "image/png"),
        (JAVA, "application/json", "image/jpeg"),
        ("application/json", "application/json", "application/json"),
        ("text/csv", "text/csv", "image/png"),
        ("TEXT/CSV", "text/csv", "image/png"),
        ("text/csv; charset=utf-8", "text/csv", "image/png"),
        ("text/csv;header=present;q=0.9, */*;q=0.1", "text/csv", "image/png"),
        ("text/csv, application/json", "application/json", "application/json"),
        ("text/csv, application/json;q=0.9", "text/csv", "application/json"),
        ("application/json;q=0.5, text/*", "text/csv", "application/json"),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet", "image/png"),
        ("application/*, application/json;q=0", "application/vnd.apache.parquet", "image/png"),
        ("*/*, application/json;q=0", "text/csv", "image/png"),
        ("image/*", "application/json", "image/png"),
        ("image/*;q=0.2, image/png;q=0.1", "application/json", "image/jpeg"),
        ("image/webp, image/jpeg", "application/json", "image/jpeg"),
        ("image/avif", "application/json", "image/png"),
        ("*", "application/json", "image/png"),
        ("text/csv;q=0", "application/json", "image/png"),
        ("*/*;q=0", "application/json", "image/png"),
        ("text/csv;q=2", "application/json", "image/png"),
        ("text/csv;q=nan", "application/json", "image/png"),
        (",;,=;q", "application/json", "image/png"),
        ("text/csv;q=0.1, text/csv;q=0.9, application/json;q=0.5", "text/csv", "application/json"),
    ],
)
def test_preferred_media_type_is_chosen(accept, of_table, of_picture):
    assert choose(accept, TABLE) == of_table
    assert choose(accept, PICTURE) == of_picture


def test_very_long_header_is_parsed():
    assert choose("a/b, " * 5000 + "text/csv", TABLE) == "text/csv"


@given(st.text(), st.sampled_from([TABLE, PICTURE]))
def test_any_header_chooses_an_offer(accept, offers):
    assert choose(accept, offers) in offers


@given(
    st.dictionaries(st.sampled_from([*TABLE, "text/*", "application/*", "*/*"]), st.integers(0, 10))
)
def test_no_offer_has_a_greater_weight_than_the_chosen_one(weights):
    accept = ", ".join(f"{name};q={weight / 10}" for name, weight in weights.items())

    def weight_of(offer):
        names = (offer, offer.partition("/")[0] + "/*", "*/*")
        return next((weights[name] for name in names if name in weights), 0)

    chosen = choose(accept, TABLE)
    assert weight_of(chosen) == max(weight_of(offer) for offer in TABLE)
