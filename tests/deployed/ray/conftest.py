"""A cluster of two Ray nodes, each with a network of its own."""

from __future__ import annotations

import pathlib
import shutil
import typing as t

import pytest
import raynodes
import twonodes

if t.TYPE_CHECKING:
    from collections import abc as cabc

APP = pathlib.Path(__file__).with_name("app.py")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[twonodes.Cluster]:
    if not raynodes.can_make_nodes():
        pytest.skip("this user may not make networks for nodes")
    folder = tmp_path_factory.mktemp("nodes")
    project = folder / "project"
    project.mkdir()
    shutil.copy(APP, project)
    with raynodes.network(folder, "head", "other") as (head, other):
        made = twonodes.Cluster(head, other, project)
        made.start_ray(head)
        made.start_ray(other)
        yield made


@pytest.fixture(scope="module")
def served(cluster: twonodes.Cluster) -> cabc.Iterator[twonodes.ServedNode]:
    """The app on the head, whose replicas are on both nodes."""
    program = cluster.serve(cluster.head)
    try:
        yield program
    finally:
        program.stop()
