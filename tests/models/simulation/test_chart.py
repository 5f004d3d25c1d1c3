from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from carboy.models.simulation.arrivals import chance, chance_arrivals
from carboy.models.simulation.chart import bars, load_curve, svg
from carboy.models.simulation.costcurve import CostCurve
from carboy.models.simulation.plan import ServingPlan
from carboy.models.simulation.simulator import simulate

SVG = "{http://www.w3.org/2000/svg}"
PLANS = {
    "batches": ServingPlan(cost=CostCurve(0.01, 0.001), batch=32, replicas=2),
    "one at a time": ServingPlan(cost=CostCurve(0.01)),
    "never in time": ServingPlan(cost=CostCurve(1.0), deadline_s=0.1),
    "no fixed cost": ServingPlan(cost=CostCurve(0.0, 1e-5), batch=64),
    "HTTP alone": ServingPlan(cost=CostCurve(1e-6), batch=64, http_s=0.01),
}


def outcome_of(plan: ServingPlan):
    return simulate(plan, chance_arrivals(plan.capacity_per_s / 2, 500, chance(1)))


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_picture_is_xml_whose_numbers_are_within_it(plan):
    text = svg("a < b & c", ["a note"], outcome_of(plan), load_curve(plan, seed=1))
    picture = ET.fromstring(text)
    *_, width, height = map(float, picture.attrib["viewBox"].split())
    assert picture.find(f"{SVG}title").text == "a < b & c"
    for each in picture.iter():
        for name, limit in (("x", width), ("y", height)):
            assert 0 <= float(each.attrib.get(name, 0)) <= limit
        for point in each.attrib.get("points", "").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
        assert float(each.attrib.get("height", 1)) >= 0


def test_picture_fits_dark_and_light_pages():
    plan = PLANS["batches"]
    text = svg("digits", [], outcome_of(plan), load_curve(plan, seed=1))
    colours = set(re.findall(r"#[0-9a-f]{6}", text))
    for colour in colours:
        levels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        lightness = 0.2126 * levels[0] + 0.7152 * levels[1] + 0.0722 * levels[2]
        assert 0.3 < lightness < 0.7, colour
    assert not re.search(r'<rect x="0\.0" y="0\.0"', text)


def test_latency_grows_with_the_load():
    points = load_curve(PLANS["batches"], seed=1)
    assert [point.rate_per_s for point in points] == sorted(point.rate_per_s for point in points)
    assert points[-1].outcome.latency_s(0.99) > 3 * points[0].outcome.latency_s(0.99)


def test_bars_are_as_long_as_their_numbers():
    lines = [line for line in bars(outcome_of(PLANS["batches"])) if line]
    lengths = {line.split()[0]: line.count("█") for line in lines[:5]}
    assert lengths["p50"] <= lengths["p90"] <= lengths["p99"] <= lengths["max"] == 40
    shares = [float(line.rpartition(" ")[2].rstrip("%")) for line in lines[5:]]
    assert sum(shares) == pytest.approx(100, abs=1)


def test_nothing_is_drawn_without_results():
    assert list(bars(outcome_of(PLANS["never in time"]))) == []
