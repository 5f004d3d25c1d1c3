"""Flask-Caching: results of views, functions and template fragments are cached."""

from __future__ import annotations

import itertools

import pytest
from flask import render_template_string
from flask_caching import Cache


@pytest.fixture
def cache(app):
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    count = itertools.count(1)

    @app.get("/slow")
    @cache.cached(query_string=True)
    def slow():
        return str(next(count))

    @cache.memoize()
    def square(number):
        return number * number, next(count)

    @app.get("/square/<int:number>")
    def squared(number):
        return list(square(number))

    @app.get("/fragment")
    def fragment():
        page = "{% cache 60, 'part' %}{{ count() }}{% endcache %}"
        return render_template_string(page, count=lambda: next(count))

    return cache


@pytest.mark.usefixtures("cache")
def test_view_is_computed_once_per_query(client):
    assert [client.get("/slow").text for _ in range(3)] == ["1", "1", "1"]
    assert client.get("/slow?a=1").text == "2"


def test_cleared_cache_computes_again(app, client, cache):
    client.get("/slow")
    with app.app_context():
        cache.clear()
    assert client.get("/slow").text == "2"


@pytest.mark.usefixtures("cache")
def test_memoized_function_is_called_once_per_argument(client):
    assert client.get("/square/3").json == client.get("/square/3").json == [9, 1]
    assert client.get("/square/4").json == [16, 2]


@pytest.mark.usefixtures("cache")
def test_template_fragment_is_rendered_once(client):
    assert client.get("/fragment").text == client.get("/fragment").text == "1"
