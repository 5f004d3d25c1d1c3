from __future__ import annotations

import gc
import os

import pytest
from alone import measured_alone

from carboy.core.forks import change_in_child


class Numbered:
    def __init__(self, changed, number):
        self.changed, self.number = changed, number
        change_in_child(self, Numbered.note)

    def note(self):
        self.changed.append(self.number)


def which_objects_are_changed():
    changed = []
    kept = [Numbered(changed, number) for number in range(3)]
    del kept[1]
    gc.collect()
    child = os.fork()
    if child == 0:
        os._exit(changed == [0, 2])
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), changed]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_objects_that_exist_are_changed_in_the_child_only():
    assert measured_alone(which_objects_are_changed) == [1, []]
