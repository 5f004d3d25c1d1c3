"""The decisions of the controller, with actors and a clock that the test moves."""

import dataclasses
import logging

import pytest

from carboy.models.raycluster.controllerstate import (
    CLIENT_LEASE_S,
    FIRST_PAUSE_S,
    HANG_ANSWER_S,
    LOST_S,
    ROOM_S,
    SILENT_S,
    UNUSED_S,
    ControllerState,
)
from carboy.models.raycluster.messages import (
    Code,
    Condition,
    LoadedReplica,
    Report,
    Versions,
    WantedVersion,
)

ABOUT = {"took_s": 1.0, "loaded_bytes": 100, "cards": []}
READY = LoadedReplica(ABOUT)
WELL = Condition(1000, 0.0, "", is_broken=False)


@dataclasses.dataclass
class Actors:
    """The actors of a test: what was asked of them."""

    running: dict = dataclasses.field(default_factory=dict)
    examined: list = dataclasses.field(default_factory=list)
    draining: list = dataclasses.field(default_factory=list)
    killed: list = dataclasses.field(default_factory=list)

    def start(self, name, wanted, number):
        self.running[name] = wanted, number

    def examine(self, name):
        self.examined.append(name)

    def drain(self, name):
        self.draining.append(name)

    def kill(self, name):
        self.killed.append(name)
        self.running.pop(name, None)

    def lacking(self, wanted):
        return "no node has room"


class Cluster:
    """A controller with its web workers."""

    def __init__(self):
        self.now_s = 1000.0
        self.actors = Actors()
        self.state = ControllerState(self.actors, lambda: self.now_s)
        self.reports = {}

    def report(self, *wanted, client="web-1", demand=0, knows=None, leaves=False):
        """Let a web worker report; return the pools that it is told of, in this order."""
        report = Report(
            client,
            self.state.serial if knows is None else knows,
            Versions.here(),
            list(wanted),
            {each.key: demand for each in wanted},
            leaves,
        )
        self.reports[client] = report
        self.state.report(report)
        snapshot = self.state.snapshot(report)
        return [snapshot.pools.get(each.key) for each in wanted]

    def pass_time(self, seconds, *, silent=()):
        """Let time pass, while all web workers repeat what they have said last."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += 0.5
            for client, report in self.reports.items():
                if client not in silent:
                    self.state.report(changed(report, serial=self.state.serial))
            self.answer_examined()
            self.state.tick()

    def answer_examined(self):
        examined, self.actors.examined = self.actors.examined, []
        for name in examined:
            if name in self.actors.running:
                self.state.examined(name, WELL)

    def make_ready(self):
        """Let all actors that were started load their model."""
        for name in self.names():
            self.state.placed(name, "10.0.0.2", 42)
            self.state.loaded(name, READY)

    def die(self, name, reason="killed"):
        self.actors.running.pop(name)
        self.state.died(name, reason)

    def names(self, wanted=None):
        return [name for name, (of, _) in self.actors.running.items() if wanted in (None, of)]

    def texts(self, level=logging.INFO):
        report = next(iter(self.reports.values()))
        return [each.text for each in self.state.snapshot(report).events if each.level >= level]


def changed(report, **changes):
    fields = {name: getattr(report, name) for name in report.__struct_fields__}
    return Report(**{**fields, **changes})


def version(name="", *, least=2, most=None, code="c1", **want):
    given = {
        "key": f"digits {name} ",
        "model": "digits",
        "version": name,
        "label": name,
        "source": "",
        "replicas": least,
        "devices": [],
        "max_rss_bytes": None,
        "start_timeout_s": 600.0,
        "has_check": False,
        "beside": "",
        "hold_s": None,
        **want,
    }
    return WantedVersion(given, Code("shop:app", "/app", code), most or least, 8, {"num_cpus": 1.0})


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def served(cluster):
    """A cluster that serves a version without a name by two replicas."""
    cluster.report(version())
    cluster.make_ready()
    return cluster


# ------------------------------------------------------------------------------------- starting


def test_a_version_is_ready_when_all_of_its_replicas_are(cluster):
    (facts,) = cluster.report(version())
    assert facts.state == "loading"
    assert [number for _, number in cluster.actors.running.values()] == [1, 2]
    first, second = cluster.names()
    cluster.state.placed(first, "10.0.0.2", 42)
    cluster.state.loaded(first, READY)
    (facts,) = cluster.report(version())
    assert (facts.state, [each.phase for each in facts.replicas]) == (
        "loading",
        ["ready", "waiting"],
    )
    cluster.state.loaded(second, READY)
    (facts,) = cluster.report(version())
    assert (facts.state, facts.about) == ("ready", ABOUT)
    assert (facts.replicas[0].node, facts.replicas[0].pid) == ("10.0.0.2", 42)


def test_several_web_servers_share_the_replicas(served):
    (facts,) = served.report(version(), client="web-2")
    assert facts.state == "ready"
    assert len(served.names()) == 2


def test_other_code_gets_other_replicas(served):
    new = version(code="c2")
    served.report(version(), new)
    assert len(served.names(new)) == 2


def test_a_model_that_cannot_be_loaded_is_refused_with_its_reason(cluster):
    cluster.report(version())
    cluster.state.loaded(cluster.names()[0], LoadedReplica({}, "no file weights.bin"))
    (facts,) = cluster.report(version())
    assert (facts.state, facts.reason) == ("refused", "no file weights.bin")
    assert not cluster.names()


def test_a_refused_version_is_tried_again_when_it_is_wanted_again(cluster):
    cluster.report(version())
    cluster.state.loaded(cluster.names()[0], LoadedReplica({}, "no file weights.bin"))
    cluster.report()
    (facts,) = cluster.report(version())
    assert facts.state == "loading"
    assert len(cluster.names()) == 2


def test_one_death_while_a_version_is_loaded_is_no_reason_to_refuse_it(cluster):
    cluster.report(version())
    cluster.die(cluster.names()[0], "its node has died")
    cluster.pass_time(FIRST_PAUSE_S * 4)
    assert len(cluster.names()) == 2
    cluster.make_ready()
    assert cluster.report(version())[0].state == "ready"


def test_a_model_that_kills_its_processes_is_refused(cluster):
    cluster.report(version())
    for _ in range(2):
        cluster.die(cluster.names()[0], "exit code 139")
        cluster.pass_time(FIRST_PAUSE_S * 4)
    (facts,) = cluster.report(version())
    assert (facts.state, facts.reason) == ("refused", "exit code 139")


def test_a_replica_that_loads_for_too_long_is_given_up(cluster):
    wanted = version(start_timeout_s=30.0)
    cluster.report(wanted)
    for name in cluster.names():
        cluster.state.placed(name, "10.0.0.2", 42)
    cluster.pass_time(31)
    (facts,) = cluster.report(wanted)
    assert facts.state == "refused"
    assert "within 30 s (start_timeout_s)" in facts.reason


def test_web_workers_with_another_release_are_refused(cluster):
    report = Report("old", 0, Versions("0.0.1", "3.11"), [version()], {})
    cluster.state.report(report)
    snapshot = cluster.state.snapshot(report)
    assert "carboy 0.0.1 instead of" in snapshot.refused
    assert not cluster.names()


# ------------------------------------------------------------------------------------ resources


def test_without_room_a_version_waits_and_says_why(cluster):
    cluster.report(version())
    cluster.pass_time(ROOM_S + 1)
    (facts,) = cluster.report(version())
    assert (facts.state, facts.reason) == ("loading", "no node has room")


def test_without_room_a_version_is_refused_after_its_time(cluster):
    wanted = version(start_timeout_s=60.0)
    cluster.report(wanted)
    cluster.pass_time(61)
    assert cluster.report(wanted)[0].state == "refused"


def test_a_version_begins_with_fewer_replicas_if_there_is_no_room_for_all(cluster):
    cluster.report(version(least=3))
    cluster.state.loaded(cluster.names()[0], READY)
    cluster.pass_time(ROOM_S + 1)
    (facts,) = cluster.report(version(least=3))
    assert facts.state == "ready"
    assert any("is served by 1 of 3 replicas" in text for text in cluster.texts(logging.WARNING))


# ------------------------------------------------------------------------------ replicas that end


def test_a_replica_has_its_node_even_if_that_is_told_after_it_is_ready(cluster):
    """Ray keeps the order of the calls of one process only."""
    wanted = version(least=1)
    cluster.report(wanted)
    (name,) = cluster.names()
    cluster.state.loaded(name, READY)
    cluster.state.placed(name, "10.0.0.2", 42)
    (replica,) = cluster.report(wanted)[0].replicas
    assert (replica.phase, replica.node, replica.pid) == ("ready", "10.0.0.2", 42)


def test_a_replica_that_dies_is_replaced_under_its_number(served):
    served.die(served.names()[0])
    (facts,) = served.report(version())
    assert [each.number for each in facts.replicas] == [2]
    served.pass_time(FIRST_PAUSE_S * 3)
    served.make_ready()
    (facts,) = served.report(version())
    assert sorted((each.number, each.restarts) for each in facts.replicas) == [(1, 1), (2, 0)]


def test_the_pauses_before_restarts_grow(served):
    pauses = []
    for _ in range(4):
        name = next(name for name, (_, number) in served.actors.running.items() if number == 1)
        served.die(name)
        begun_s = served.now_s
        while not any(number == 1 for _, number in served.actors.running.values()):
            served.pass_time(0.5)
        pauses.append(served.now_s - begun_s)
        served.make_ready()
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 4 * pauses[0]


def test_a_replica_hangs_only_if_it_says_so_itself(served):
    name = served.names()[0]
    served.state.hangs(name, 10.0)
    served.state.examined(name, WELL)
    assert name not in served.actors.killed
    served.state.hangs(name, 10.0)
    served.state.examined(name, Condition(1000, 9.8, "", is_broken=False))
    assert name in served.actors.killed
    assert any("longer than its deadline allows" in text for text in served.texts(logging.ERROR))


def test_a_replica_that_cannot_even_answer_hangs(served):
    name = served.names()[0]
    served.state.hangs(name, 10.0)
    served.actors.examined.clear()
    served.now_s += HANG_ANSWER_S + 0.1
    served.state.tick()
    assert name in served.actors.killed


def test_a_replica_that_does_not_answer_gets_no_batches_until_it_does(served):
    name = served.names()[0]
    served.pass_time(2)
    served.now_s += 1
    served.state.tick()
    assert name in served.actors.examined
    served.now_s += SILENT_S
    served.state.tick()
    phases = {each.name: each.phase for each in served.report(version())[0].replicas}
    assert phases[name] == "hanging"
    served.state.examined(name, WELL)
    phases = {each.name: each.phase for each in served.report(version())[0].replicas}
    assert phases[name] == "ready"
    assert name not in served.actors.killed


def test_a_replica_that_does_not_answer_for_long_is_replaced_before_it_ends(served):
    before = served.names()
    silent = before[0]
    served.now_s += 1
    served.state.tick()
    served.actors.examined.remove(silent)  # the others answer
    served.pass_time(LOST_S + 1)
    (successor,) = set(served.names()) - set(before)
    assert silent not in served.actors.killed
    served.state.placed(successor, "10.0.0.3", 43)
    served.state.loaded(successor, READY)
    ready = {each.name for each in served.report(version())[0].replicas if each.phase == "ready"}
    assert ready == {*before, successor} - {silent}


def test_a_broken_device_ends_its_replica_at_once(served):
    name = served.names()[0]
    served.state.examined(name, Condition(1000, 0.0, "illegal memory access", is_broken=True))
    assert name in served.actors.killed


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(Condition(2000, 0.0, "", is_broken=False), id="memory"),
        pytest.param(Condition(10, 0.0, "its check failed: x", is_broken=False), id="check"),
    ],
)
def test_a_replica_that_must_leave_ends_after_its_successor_is_ready(cluster, condition):
    wanted = version(max_rss_bytes=1500)
    cluster.report(wanted)
    cluster.make_ready()
    name = cluster.names()[0]
    cluster.state.examined(name, condition)
    cluster.state.tick()
    _, _, new = cluster.names()
    assert name not in cluster.actors.draining
    cluster.state.loaded(new, READY)
    assert cluster.actors.draining == [name]


def test_a_replica_ends_only_when_every_web_worker_knows(served):
    served.report(version(), client="web-2")
    new = version("8")
    for client in ("web-1", "web-2"):
        served.report(version(), new, client=client)
    served.make_ready()
    old = served.names(version())
    served.report(new, client="web-1")
    served.report(new, client="web-2")
    assert sorted(served.actors.draining) == sorted(old)
    for name in old:
        served.state.drained(name)
    served.pass_time(2)
    assert not served.names(version())
    assert len(served.names(new)) == 2


# -------------------------------------------------------------------------------------- versions


def test_the_old_version_stays_while_a_web_worker_wants_it(served):
    new = version("8")
    served.report(version(), client="web-2")
    served.report(version(), new, client="web-1")
    served.make_ready()
    served.report(new, client="web-1")
    served.pass_time(UNUSED_S * 2)
    assert len(served.names(version())) == 2


def test_a_version_that_fails_leaves_the_old_one_alone(served):
    new = version("8")
    served.report(version(), new)
    served.state.loaded(served.names(new)[0], LoadedReplica({}, "the answer is 4 instead of 3"))
    old, failed = served.report(version(), new)
    assert (old.state, failed.state) == ("ready", "refused")
    assert len(served.names(version())) == 2


def test_a_version_that_needs_the_room_of_the_old_one_lets_predictions_wait(served):
    new = version("8", beside=version().want["key"], hold_s=30.0)
    served.report(version(), new)
    served.pass_time(ROOM_S + 1)
    old, _ = served.report(version(), new)
    assert old.hold_s == 30.0
    served.report(new)  # the old version is released, so that its replicas end
    for name in served.actors.draining:
        served.state.drained(name)
    served.pass_time(2)
    assert not served.names(version())
    served.make_ready()
    assert served.report(new)[0].state == "ready"


def test_without_hold_s_the_old_version_is_not_held(served):
    new = version("8", beside=version().want["key"])
    served.report(version(), new)
    served.pass_time(ROOM_S + 1)
    assert served.report(version(), new)[0].hold_s is None


def test_a_held_version_goes_on_if_the_new_one_fails(served):
    new = version("8", beside=version().want["key"], hold_s=30.0)
    served.report(version(), new)
    served.pass_time(ROOM_S + 1)
    served.report(new)
    served.state.loaded(served.names(new)[0], LoadedReplica({}, "no file"))
    served.pass_time(1)
    snapshot = served.state.snapshot(served.reports["web-1"])
    assert snapshot.resumed == [version().want["key"]]


# ------------------------------------------------------------------------------------ autoscaling


def test_waiting_predictions_start_replicas_up_to_the_bound(cluster):
    wanted = version(least=1, most=3)
    cluster.report(wanted)
    cluster.make_ready()
    cluster.report(wanted, demand=500)
    cluster.pass_time(5)
    assert len(cluster.names()) == 3
    cluster.make_ready()
    cluster.report(wanted, demand=0)
    cluster.pass_time(65)
    assert len(cluster.actors.draining) == 2
    assert any("3 replicas instead of 1" in text for text in cluster.texts())


def test_the_demand_of_all_web_servers_counts(cluster):
    wanted = version(least=1, most=8)
    for client in ("web-1", "web-2"):
        cluster.report(wanted, client=client)
    cluster.make_ready()
    for client in ("web-1", "web-2"):
        cluster.report(wanted, client=client, demand=16)
    cluster.pass_time(5)
    assert len(cluster.names()) == 2


# -------------------------------------------------------------------------------- the end of users


def test_replicas_wait_for_a_server_that_is_restarted(served):
    served.report(version(), leaves=True)
    del served.reports["web-1"]
    served.pass_time(UNUSED_S - 5)
    assert len(served.names()) == 2
    served.report(version(), client="web-2")
    served.pass_time(UNUSED_S)
    assert len(served.names()) == 2


def test_replicas_without_users_end(served):
    served.report(version(), leaves=True)
    del served.reports["web-1"]
    served.pass_time(UNUSED_S + 1)
    assert len(served.actors.draining) == 2
    for name in served.actors.draining:
        served.state.drained(name)
    served.pass_time(UNUSED_S + 5)
    assert not served.names()
    assert served.state.is_unused()


def test_a_web_worker_that_died_is_forgotten(served):
    served.pass_time(CLIENT_LEASE_S + UNUSED_S + 2, silent={"web-1"})
    assert len(served.actors.draining) == 2


# --------------------------------------------------------------------------------- a new controller


def test_a_new_controller_takes_over_the_replicas_that_there_are(served):
    found = list(served.names())
    other = Cluster()
    other.actors.running = dict(served.actors.running)
    for number, name in enumerate(found, 1):
        other.state.adopt(name, version(), number, READY, "10.0.0.2", 42)
    (facts,) = other.report(version())
    assert (facts.state, len(facts.replicas)) == ("ready", 2)
    other.pass_time(5)
    assert set(other.names()) == set(found)


def test_replicas_that_nobody_wants_any_more_are_not_kept_by_a_new_controller(served):
    other = Cluster()
    for number, name in enumerate(served.names(), 1):
        other.state.adopt(name, version(), number, READY, "10.0.0.2", 42)
    other.pass_time(UNUSED_S + 1)
    assert sorted(other.actors.draining) == sorted(served.names())
