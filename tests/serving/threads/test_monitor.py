"""The monitor of stuck leaders: how long it pauses between two looks, and when it sleeps."""

from __future__ import annotations

import threading

from polling import PATIENCE_S

from carboy.serving.threads.monitor import ALERT_TICK_S, ALERT_TICKS, TICK_S, Monitor


def pauses_of(looks: int, *, alert_at: int | None) -> list[float]:
    """The pauses of a monitor that finds work so many times, and is alerted at one of them."""
    pauses, count, idle = [], 0, threading.Event()

    def check() -> bool:
        nonlocal count
        count += 1
        if count == alert_at:
            monitor.alert()
        if count > looks:
            idle.set()
        return count <= looks

    monitor = Monitor(check, pauses.append)
    monitor.start()
    assert idle.wait(PATIENCE_S)
    monitor.stop()
    return pauses


def test_monitor_pauses_for_a_tick_between_two_looks():
    assert set(pauses_of(5, alert_at=None)) == {TICK_S}


def test_monitor_looks_more_often_for_a_while_after_an_alert():
    pauses = pauses_of(2 + ALERT_TICKS + 3, alert_at=2)
    assert pauses[:2] == [TICK_S] * 2
    assert pauses[2 : 2 + ALERT_TICKS] == [ALERT_TICK_S] * ALERT_TICKS
    assert set(pauses[2 + ALERT_TICKS :]) == {TICK_S}


def test_monitor_without_work_does_not_look_until_it_is_woken():
    looked, count = threading.Semaphore(0), 0

    def check() -> bool:
        nonlocal count
        count += 1
        looked.release()
        return False

    monitor = Monitor(check, lambda _: None)
    monitor.start()
    for _ in range(2):  # the second look closes the gap before `asleep` is set
        assert looked.acquire(timeout=PATIENCE_S)
    assert count == 2
    assert monitor.asleep
    monitor.wake()
    assert looked.acquire(timeout=PATIENCE_S)
    monitor.stop()
