"""Measure state of a whole process (garbage, memory, threads) in a new Python process.

Other tests of the same process leave threads that end later and garbage that is collected later,
which would be counted as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

_SUPPORT = os.path.dirname(os.path.abspath(__file__))
_TESTS = os.path.dirname(_SUPPORT)
_PROGRAM = """\
import importlib.util, json, sys

path, name = sys.argv[1:]
spec = importlib.util.spec_from_file_location("measured", path)
module = sys.modules["measured"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(json.dumps(getattr(module, name)()))
"""


def measured_alone(measure: cabc.Callable[[], t.Any]) -> t.Any:
    """Return the result of a test module's function, run in a new process. The result must be
    JSON.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, measure.__code__.co_filename, measure.__name__],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((_TESTS, _SUPPORT))},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
