from __future__ import annotations

import pytest

from carboy.models.simulation.costcurve import (
    CostCurve,
    fit_cost,
    measure_cost,
    parse_cost,
    parse_duration,
    show_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("50ms", 0.05), ("0.2 s", 0.2), ("80us", 8e-5), ("80µs", 8e-5), (" .5ms ", 5e-4), ("3s", 3)],
)
def test_duration_is_read_with_its_unit(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "5 m", "-5ms", "ms", "1e3ms", "nan s", "5ms 3ms"])
def test_text_that_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"^$"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "curve"),
    [
        ("2ms+0.1ms", CostCurve(0.002, 0.0001)),
        ("2 ms + 100 us", CostCurve(0.002, 0.0001)),
        ("2ms", CostCurve(0.002)),
        ("0ms+1ms", CostCurve(0.0, 0.001)),
    ],
)
def test_cost_is_read(text, curve):
    read = parse_cost(text)
    assert (read.fixed_s, read.per_item_s) == pytest.approx((curve.fixed_s, curve.per_item_s))


@pytest.mark.parametrize(
    "text", ["", "2", "2ms+", "+2ms", "2ms+1", "0ms", "0ms+0ms", "1ms+1ms+1ms"]
)
def test_text_that_is_no_cost_is_refused(text):
    with pytest.raises(ValueError, match=r"^$"):
        parse_cost(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.05, "50 ms"), (1.5, "1.5 s"), (8e-5, "80 us"), (0.0012345, "1.23 ms"), (0.0, "0 us")],
)
def test_duration_is_shown_with_its_unit(seconds, text):
    assert show_duration(seconds) == text


def test_line_through_exact_times_is_found():
    found = fit_cost({size: 0.002 + 0.0003 * size for size in (1, 2, 4, 8, 16, 32)})
    assert found.curve.fixed_s == pytest.approx(0.002)
    assert found.curve.per_item_s == pytest.approx(0.0003)
    assert found.residual == pytest.approx(0, abs=1e-9)
    assert found.is_linear


@pytest.mark.parametrize(
    ("times_s", "curve"),
    [
        ({1: 0.01}, CostCurve(0.01, 0.0)),
        ({1: 0.02, 2: 0.01}, CostCurve(0.0125, 0.0)),  # no batch saves time
    ],
)
def test_coefficients_are_not_negative(times_s, curve):
    found = fit_cost(times_s).curve
    assert (found.fixed_s, found.per_item_s) == pytest.approx(
        (curve.fixed_s, curve.per_item_s), rel=0.05
    )


def test_times_that_jump_are_not_linear():
    assert not fit_cost({1: 0.001, 2: 0.001, 4: 0.001, 8: 0.01, 16: 0.01}).is_linear


def test_each_size_up_to_the_batch_is_measured_with_new_inputs():
    seen: list[object] = []
    sizes: set[int] = set()

    def compute(inputs: list[object]) -> None:
        sizes.add(len(inputs))
        seen.extend(inputs)

    found = measure_cost(compute, object, batch=12)
    assert sizes == set(found.times_s) == {1, 2, 4, 8, 12}
    assert len(set(map(id, seen))) == len(seen)
