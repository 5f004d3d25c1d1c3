"""Whether a client still waits for its answer."""

from __future__ import annotations

import rsgiend

from carboy.serving.exchange import Exchange


def exchange() -> tuple[Exchange, rsgiend.Protocol]:
    protocol = rsgiend.Protocol()
    return Exchange(rsgiend.Scope(), protocol), protocol


def test_a_client_that_leaves_is_told_once():
    each, client = exchange()
    told = []
    each.watch(lambda: told.append(each.gone))
    assert not each.gone
    client.leave()
    client.leave()
    assert told == [True]


def test_a_watch_that_was_ended_tells_nothing():
    each, client = exchange()
    each.watch(lambda: 1 / 0).cancel()
    client.leave()
    assert not each.gone


def test_who_watches_after_the_client_left_is_told_at_once():
    each, client = exchange()
    each.watch()
    client.leave()
    told = []
    assert each.watch(lambda: told.append(1)) is None
    assert told == [1]


def test_what_granian_knows_already_is_told_at_once():
    each, client = exchange()
    client.client_disconnect = lambda: iter(())  # an awaitable without callbacks
    told = []
    assert each.watch(lambda: told.append(each.gone)) is None
    assert told == [True]


def test_two_watches_do_not_end_each_other():
    each, client = exchange()
    told = []
    first = each.watch(lambda: told.append(1))
    each.watch(lambda: told.append(2))
    first.cancel()
    client.leave()
    assert told == [2]
