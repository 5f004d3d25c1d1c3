"""The device that the process of a replica sees."""

import pytest

from carboy.errors import ModelLoadError
from carboy.serving.process.computedevices import device_environment

VISIBLE = "CUDA_VISIBLE_DEVICES"


@pytest.mark.parametrize(
    ("device", "set_by_user", "seen"),
    [
        ("cuda", None, {VISIBLE: "0"}),
        ("cuda:0", None, {VISIBLE: "0"}),
        ("cuda:3", None, {VISIBLE: "3"}),
        ("cuda:1", "4,6", {VISIBLE: "6"}),
        ("cuda:0", "GPU-8932f937, GPU-1", {VISIBLE: "GPU-8932f937"}),
        ("cpu", None, {VISIBLE: ""}),
        ("cpu", "4,6", {VISIBLE: ""}),
        ("mps", None, {}),
        ("npu:0", "4", {}),
        ("cudas", None, {}),
    ],
)
def test_process_sees_its_device_alone(device, set_by_user, seen):
    environ = {} if set_by_user is None else {VISIBLE: set_by_user}
    assert device_environment(device, environ) == seen


@pytest.mark.parametrize(
    ("device", "set_by_user"),
    [("cuda:2", "4,6"), ("cuda", ""), ("cuda:1", "-"), ("cuda", "-1"), ("cuda:1", "3,-1,4")],
)
def test_device_that_the_user_has_hidden_is_refused(device, set_by_user):
    with pytest.raises(ModelLoadError, match=f"{device!r} is not visible: {VISIBLE} is"):
        device_environment(device, {VISIBLE: set_by_user})
