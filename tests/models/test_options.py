"""The options of models that concern replicas and devices: which are accepted, and what the error
says about the others.
"""

import dataclasses
import inspect

import pytest

from carboy import Carboy
from carboy.models.options import Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicas": 0}, r"replicas=0\): expected a whole number, at least 1, or None"),
        ({"replicas": True}, r"replicas=True\): expected a whole number"),
        ({"replicas": "2"}, r"replicas='2'\): expected a whole number"),
        ({"replicas": 2, "concurrency": 2}, "a replica computes one batch at a time"),
        ({"retry": False}, "retry=False.* has no effect without replicas"),
        ({"max_rss": "2G"}, "max_rss='2G'.* has no effect without replicas"),
        ({"start_timeout_s": 5}, "start_timeout_s=5.* has no effect without replicas"),
        ({"replicas": 1, "retry": "no"}, r"retry='no'\): expected True or False"),
        ({"replicas": 1, "max_rss": "2 elephants"}, "expected a number of bytes, or a size"),
        ({"replicas": 1, "max_rss": 0}, "expected a number of bytes, or a size"),
        ({"replicas": 1, "start_timeout_s": 0}, "expected seconds above 0"),
        ({"device": ["cuda:0"]}, "expected one word"),
        ({"device": [], "replicas": 1}, "expected one word"),
        ({"device": ["cuda:0", ""], "replicas": 2}, "expected one word"),
        ({"device": ["cuda:0", "cuda:1"], "replicas": 1}, "1 of these would not be used"),
        ({"device_lock": False}, "device_lock=False.* has no effect without a device"),
        ({"device": "cuda:0", "device_lock": None}, "expected True or False"),
    ],
)
def test_option_that_cannot_be_honoured_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Options(**options)


@pytest.mark.parametrize(
    ("options", "devices"),
    [
        ({}, ()),
        ({"device": "cuda:0"}, ("cuda:0",)),
        ({"device": "cuda:0", "replicas": 2}, ("cuda:0",)),
        ({"device": ["cuda:0", "cuda:1"], "replicas": 3}, ("cuda:0", "cuda:1")),
        ({"device": ("cpu",), "replicas": 3}, ("cpu",)),
    ],
)
def test_devices_of_replicas(options, devices):
    assert Options(**options).devices == devices


def test_device_is_shared_in_this_process_unless_the_model_may_compute_together_with_others():
    assert Options(device="cuda:0").shared_device == "cuda:0"
    assert Options(device="cuda:0", device_lock=False).shared_device is None
    assert Options(device=["cuda:0", "cuda:1"], replicas=2).shared_device == "cuda:0"


@pytest.mark.parametrize(
    ("size", "size_bytes"), [("2G", 2 * 2**30), ("500M", 500 * 2**20), (12345, 12345), (None, None)]
)
def test_memory_limit_of_a_replica_is_a_number_or_a_size(size, size_bytes):
    assert Options(replicas=1, max_rss=size).max_rss_bytes == size_bytes


def test_replicas_compute_as_many_batches_at_the_same_time_as_there_are():
    assert Options(replicas=3).parallel == 3
    assert Options(concurrency=4).parallel == 4


@pytest.mark.parametrize("device", ["CUDA:0", "gpu:0", "cuda0", "cuda:", ["cuda:0", "GPU"]])
def test_misspelt_device_of_replicas_is_refused(device):
    with pytest.raises(ValueError, match="expected 'cuda' or 'cuda:' and a number"):
        Options(device=device, replicas=2)


def test_replicas_on_cuda_and_on_cuda_0_share_a_device():
    assert Options(device=["cuda", "cuda:1"], replicas=2).devices == ("cuda:0", "cuda:1")
    assert Options(device="cuda").devices == ("cuda",), "without replicas, words are compared"


def test_options_have_the_defaults_that_the_decorator_shows():
    shown = inspect.signature(Carboy.model).parameters
    fields = dataclasses.asdict(Options())
    assert {name: shown[name].default for name in fields} == fields
    assert shown.keys() - fields == {"self", "rule", "name"}
