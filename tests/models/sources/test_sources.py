"""Folders of versions, on this machine and behind URLs."""

from __future__ import annotations

import concurrent.futures
import errno
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polling import wait_until

from carboy.errors import ModelFileError, ModelLoadError, UnreachableSourceError
from carboy.models import load
from carboy.models.saved.card import read_card
from carboy.models.sources import source_of
from carboy.models.sources.versioncache import CACHE_VARIABLE
from carboy.models.sources.versionlist import Choice, SourceVersion, VersionList, order_key

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("fsspec.implementations.memory")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=["folder", "url"])
def source(request, tmp_path):
    place = str(tmp_path / "digits")
    return source_of(place if request.param == "folder" else f"memory://{uuid.uuid4()}/digits")


@pytest.fixture
def url_source(tmp_path):
    return source_of(f"memory://{uuid.uuid4()}/digits")


@pytest.fixture
def build(tmp_path) -> pathlib.Path:
    folder = tmp_path / "build"
    (folder / "weights").mkdir(parents=True)
    (folder / "model.txt").write_text("net")
    (folder / "weights" / "first.bin").write_bytes(bytes(100))
    return folder


def names_of(source) -> list[str]:
    return [each.name for each in source.look().versions]


def candidates_of(source, *excluding: str) -> list[str]:
    return [each.name for each in source.look().candidates(excluding)]


# --- order and choice ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ordered",
    [
        ["7", "8", "10"],
        ["1.9", "1.10", "2.0"],
        ["v9", "v10"],
        ["2025-12-31", "2026-01-05", "2026-11-29"],
        ["notes", "1"],
        ["07", "7"],
        ["1.1", "1.2.0-rc1", "1.2.0-rc.2", "1.2.0", "1.2.0.1", "1.2.1"],
        ["1.2.0.dev3", "1.2.0-alpha", "1.2.0-beta.2", "1.2.0rc1", "1.2.0"],
        ["7-rc", "7", "7-fixed", "8"],
        ["beta1", "1"],
    ],
    ids=lambda names: " ".join(names),
)
def test_versions_are_ordered_as_people_number_them(ordered):
    backwards = ordered[::-1]
    assert sorted(backwards, key=order_key) == ordered


@given(st.permutations(["7", "07", "a", "", "a7", "7a", "7.1", "7-rc1", "é²"]))
def test_any_names_have_one_order(names):
    expected = ["", "7a", "7-rc1", "7.1", "07", "7", "a", "a7", "é²"]
    assert sorted(names, key=order_key) == sorted(expected, key=order_key)


def listed(*names: str, choice: Choice | None = None, broken: str = "") -> VersionList:
    versions = (SourceVersion(name, "", "broken" if name == broken else "") for name in names)
    return VersionList(tuple(versions), choice)


@pytest.mark.parametrize(
    ("found", "excluding", "expected"),
    [
        (listed("7", "8"), "", ["8", "7"]),
        (listed("7", "8", broken="8"), "", ["7"]),
        (listed("7", "8"), "8", ["7"]),
        (listed("6", "7", "8", choice=Choice("7", newest="8")), "", ["7", "6"]),
        (listed("6", "7", "8", "9", choice=Choice("7", newest="8")), "", ["9", "7", "6"]),
        (listed("6", "7", "8", choice=Choice("8", newest="8")), "", ["8", "7", "6"]),
        (listed("5", "6", "8", choice=Choice("7", newest="8")), "", ["6", "5"]),
        (listed(), "", []),
    ],
    ids=[
        *("newest first", "without broken ones", "without a canary", "rolled back"),
        *("newer than all at the roll back", "forward again", "chosen one removed", "none"),
    ],
)
def test_candidates_to_serve(found, excluding, expected):
    assert [each.name for each in found.candidates(excluding)] == expected


@pytest.mark.parametrize("chosen", ["6", "7"])
def test_version_that_is_copied_during_a_choice_ends_it_when_it_is_complete(chosen):
    choice = listed("6", "7", "9", broken="9").choose(chosen, "models/digits")
    complete = listed("6", "7", "9", choice=choice)
    assert complete.candidates()[0].name == "9"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        pytest.param(
            listed("3", "4", choice=Choice("2", newest="4")),
            r"served. '3', '4' were rolled back: chosen.json names '2', which is gone. Switch to"
            r" another version, such as: carboy models switch MODEL 4.$",
            id="chosen version gone",
        ),
        pytest.param(
            listed("2", "3", choice=Choice("2", newest="3"), broken="2"),
            r"served. '2': broken '3' was rolled back: chosen.json names '2', which cannot be"
            r" served. Switch to another version, such as: carboy models switch MODEL 3.$",
            id="chosen version broken",
        ),
        pytest.param(
            listed("2", choice=Choice("2", newest="2"), broken="2"),
            r"served. '2': broken A version is a folder",
            id="only a broken version",
        ),
        pytest.param(listed(), r"served. A version is a folder .*'models/m/1'", id="none"),
    ],
)
def test_source_without_a_version_to_serve_says_why(found, reason):
    with pytest.raises(ModelFileError, match=reason):
        found.refuse_none("models/m")


# --- what every source does ----------------------------------------------------------------------


def test_pushed_versions_are_numbered_and_listed_oldest_first(source, build):
    assert [source.push(str(build)) for _ in range(11)] == [str(n) for n in range(1, 12)]
    assert names_of(source) == [str(n) for n in range(1, 12)]
    assert candidates_of(source)[0] == "11"


def test_pushed_version_has_the_files_and_a_card_of_its_own(source, build):
    version = source.push(str(build), "2026-11-29")
    folder = source.folder(version)
    card = read_card(folder)
    assert os.path.basename(folder) == "2026-11-29"
    assert (card.name, card.version, card.format) == ("digits", "2026-11-29", "own")
    assert set(card.files) == {"model.txt", "weights/first.bin"}
    for name in card.files:
        assert (pathlib.Path(folder) / name).read_bytes() == (build / name).read_bytes()


def test_version_appears_when_the_disk_has_all_of_its_files(source, build, monkeypatch):
    synced, renamed = set(), []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.add(os.fstat(fd).st_ino))
    rename = os.rename

    def note(old: str, new: str) -> None:
        renamed.append({each.stat().st_ino for each in [old, *pathlib.Path(old).rglob("*")]})
        assert renamed[-1] <= synced
        rename(old, new)

    monkeypatch.setattr(os, "rename", lambda old, new: note(pathlib.Path(old), new))
    folder = pathlib.Path(source.folder(source.push(str(build))))
    assert [len(each) for each in renamed] == [5]  # two folders, two files and the card
    assert folder.parent.stat().st_ino in synced


def test_version_is_never_overwritten(source, build):
    source.push(str(build), "7")
    (build / "model.txt").write_text("another")
    with pytest.raises(ModelFileError, match=r"There is a version '7' in .* already"):
        source.push(str(build), "7")
    assert (pathlib.Path(source.folder("7")) / "model.txt").read_text() == "net"


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "with space", "ä", "x" * 65])
def test_name_that_is_no_name_of_a_version_is_refused(source, build, name):
    with pytest.raises(ModelFileError, match="cannot be the name of a version"):
        source.push(str(build), name)


def test_next_number_is_not_guessed_after_a_version_that_is_no_number(source, build):
    source.push(str(build), "2026-11-29")
    with pytest.raises(ModelFileError, match=r"has no number after it. Name the new version"):
        source.push(str(build))


def test_roll_back_holds_until_a_newer_version_appears(source, build):
    for _ in range(3):
        source.push(str(build))
    source.choose("2")
    assert candidates_of(source) == ["2", "1"]
    source.push(str(build))
    assert candidates_of(source) == ["4", "2", "1"]
    source.choose("3")
    assert candidates_of(source) == ["3", "2", "1"]
    source.choose("4")
    assert candidates_of(source) == ["4", "3", "2", "1"]


def test_version_that_does_not_exist_cannot_be_chosen(source, build):
    source.push(str(build), "7")
    with pytest.raises(ModelFileError, match=r"There is no version '8' in .*, which has 7"):
        source.choose("8")


def test_only_one_of_many_pushes_of_one_name_succeeds(source, tmp_path):
    builds = []
    for number in range(8):
        builds.append(tmp_path / f"build{number}")
        builds[-1].mkdir()
        (builds[-1] / "model.txt").write_text(str(number))

    def push(folder: pathlib.Path) -> str | None:
        try:
            source.push(str(folder), "7")
        except ModelFileError:
            return None
        return (folder / "model.txt").read_text()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        pushed = [each for each in pool.map(push, builds) if each is not None]
    assert len(pushed) <= 1
    if pushed:
        assert (pathlib.Path(source.folder("7")) / "model.txt").read_text() == pushed[0]
    assert [each.fault for each in source.look().versions] == [""] * len(pushed)


def test_pushes_at_the_same_time_get_numbers_of_their_own(source, build):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        pushed = list(pool.map(lambda _: source.push(str(build)), range(4)))
    assert len(set(pushed)) == 4
    assert set(candidates_of(source)) == set(pushed)


def test_build_that_is_changed_after_its_card_was_written_is_refused(source, build, tmp_path):
    source.push(str(build), "7")
    saved = pathlib.Path(source.folder("7"))
    copied = pathlib.Path(shutil.copytree(saved, tmp_path / "copied"))
    (copied / "model.txt").write_text("neT")
    with pytest.raises(ModelFileError, match=r"model.txt' is not the file on its card"):
        source.push(str(copied), "8")
    assert names_of(source) == ["7"]
    assert source.push(str(saved)) == "8"


def test_build_with_a_link_to_a_folder_is_refused(source, build, tmp_path):
    """Its files were left out."""
    (build / "weights").rename(tmp_path / "elsewhere")
    (build / "weights").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelFileError, match="weights' is a link to a folder"):
        source.push(str(build))


def test_build_with_files_that_are_not_on_its_card_is_refused(source, build, tmp_path):
    source.push(str(build), "7")
    copied = pathlib.Path(shutil.copytree(source.folder("7"), tmp_path / "copied"))
    (copied / ".cache").mkdir()
    (copied / ".cache" / "of-an-editor").touch()
    assert source.push(str(copied)) == "8"
    (copied / "weights" / "labels.json").write_text("[]")
    with pytest.raises(ModelFileError, match=r"does not list: 'weights/labels\.json'"):
        source.push(str(copied))
    assert names_of(source) == ["7", "8"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda place: None, "does not exist"),
        (lambda place: place.write_text(""), "is a file"),
        (lambda place: place.mkdir(), "has no files of a model"),
    ],
    ids=["missing", "file", "empty"],
)
def test_folder_that_is_no_build_is_refused(source, tmp_path, make, says):
    make(tmp_path / "wrong")
    with pytest.raises(ModelFileError, match=says):
        source.push(str(tmp_path / "wrong"))


def test_source_that_does_not_exist_says_how_it_is_created(source):
    with pytest.raises(ModelFileError, match="push' create"):
        source.look()


# --- folders -------------------------------------------------------------------------------------


@pytest.fixture
def seven(tmp_path, build) -> pathlib.Path:
    source_of(str(tmp_path / "digits")).push(str(build), "7")
    return tmp_path / "digits" / "7"


def test_folder_of_a_single_version_is_fixed(seven, build):
    source = source_of(str(seven))
    found = source.look()
    assert found.is_fixed
    assert [each.name for each in found.candidates()] == ["7"]
    assert source.folder("7") == str(seven)
    for refused in (lambda: source.choose("7"), lambda: source.push(str(build))):
        with pytest.raises(ModelFileError, match="is the folder of a single version"):
            refused()


def test_file_url_is_the_folder(seven):
    source = source_of(seven.parent.as_uri())
    assert source.folder("7") == str(seven)


def test_folder_that_appears_by_rename_is_a_version(seven):
    source = source_of(str(seven.parent))
    hidden = seven.with_name(".8-partial")
    shutil.copytree(seven, hidden)
    assert names_of(source) == ["7"]
    hidden.rename(seven.with_name("8"))
    assert candidates_of(source) == ["8", "7"]


def test_folder_that_is_being_copied_is_no_candidate_and_says_why(seven):
    source, copied = source_of(str(seven.parent)), seven.with_name("8")
    seen = []
    for name in ("card.json", "model.txt", "weights/first.bin"):
        (copied / name).parent.mkdir(parents=True, exist_ok=True)
        seen.append(source.look().versions[-1])
        (copied / name).write_bytes((seven / name).read_bytes()[:50])
        seen.append(source.look().versions[-1])
        assert candidates_of(source) == ["7"]
        shutil.copy(seven / name, copied / name)
    assert candidates_of(source) == ["8", "7"]
    assert [each.fault.partition(",")[0].partition(":")[0] for each in seen] == [
        "it has no card.json",
        f"'{copied / 'card.json'}' is not the card of a saved model",
        "'model.txt' is missing",
        "'weights/first.bin' is missing",
        "'weights/first.bin' is missing",
        "'weights/first.bin' has 50 bytes",
    ]


def card_is_a_loop_of_links(version: pathlib.Path) -> None:
    (version / "card.json").unlink()
    (version / "card.json").symlink_to("card.json")


def file_is_a_loop_of_links(version: pathlib.Path) -> None:
    (version / "model.txt").unlink()
    (version / "model.txt").symlink_to("model.txt")


def folder_is_a_file(version: pathlib.Path) -> None:
    shutil.rmtree(version / "weights")
    (version / "weights").touch()


def file_has_an_impossible_name(version: pathlib.Path) -> None:
    path = version / "card.json"
    path.write_text(path.read_text().replace("model.txt", r"model\u0000txt"))


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (card_is_a_loop_of_links, "symbolic links"),
        (file_is_a_loop_of_links, "'model.txt', which card.json lists, cannot be read"),
        (folder_is_a_file, "'weights/first.bin', which card.json lists, cannot be read"),
        (file_has_an_impossible_name, "which is not in its folder"),
    ],
)
def test_version_that_cannot_be_read_does_not_concern_the_others(seven, breaks, says):
    source, eight = source_of(str(seven.parent)), seven.with_name("8")
    shutil.copytree(seven, eight)
    breaks(eight)
    assert candidates_of(source) == ["7"]
    assert says in source.look().versions[-1].fault


def test_link_that_leads_to_itself_is_no_version(seven):
    seven.with_name("8").symlink_to("8")
    assert names_of(source_of(str(seven.parent))) == ["7"]


def test_card_that_may_not_be_read_concerns_only_its_version(bucket, build, monkeypatch):
    source = source_of(bucket)
    for _ in range(2):
        source.push(str(build))

    def cat_file(files: t.Any, path: str, *args: t.Any, **options: t.Any) -> bytes:
        if path.endswith("/2/card.json"):
            raise PermissionError("403 Forbidden")
        return t.cast("bytes", read(files, path, *args, **options))

    read = Bucket.cat_file
    monkeypatch.setattr(Bucket, "cat_file", cat_file)
    assert candidates_of(source_of(bucket)) == ["1"]
    assert "403 Forbidden" in source_of(bucket).look().versions[-1].fault


def _source_with(name, kind, url_source, build, tmp_path):
    """Return a source with the version "7" and a copy of it with this name."""
    if kind == "folder":
        source = source_of(str(tmp_path / "digits"))
        source.push(str(build), "7")
        shutil.copytree(tmp_path / "digits" / "7", tmp_path / "digits" / name)
    else:
        source = url_source
        source.push(str(build), "7")
        top, files = source._url.removeprefix("memory:/"), fsspec.filesystem("memory")
        files.copy(f"{top}/7", f"{top}/{name}", recursive=True)
    return source


@pytest.mark.parametrize("name", ["модель", "8 a\r\nX-Evil: 1", "8\x7f", "u\u0308"])
@pytest.mark.parametrize("kind", ["folder", "url"])
def test_folder_whose_name_could_not_stand_in_a_header_is_no_candidate(
    kind, url_source, build, tmp_path, name
):
    source = _source_with(name, kind, url_source, build, tmp_path)
    assert candidates_of(source) == ["7"]
    (refused,) = [each for each in source.look().versions if each.fault]
    assert "cannot be the name of a version" in refused.fault
    assert refused.name.isprintable()
    assert refused.name in refused.fault


def test_folder_whose_name_is_not_utf_8_is_listed_by_a_name_that_can_be_sent(seven):
    shutil.copytree(seven, seven.parent / os.fsdecode(b"caf\xe9\n"))
    source = source_of(str(seven.parent))
    assert candidates_of(source) == ["7"]
    assert {each.name for each in source.look().versions} == {"7", r"caf\xe9\n"}


@pytest.mark.parametrize("name", ["2026-11-29T10:00", "8 (copy)", "_8", "größe-8", "x" * 70])
@pytest.mark.parametrize("kind", ["folder", "url"])
def test_folder_that_people_have_named_is_a_version(kind, url_source, build, tmp_path, name):
    source = _source_with(name, kind, url_source, build, tmp_path)
    assert sorted(candidates_of(source)) == sorted(["7", name])
    assert (pathlib.Path(source.folder(name)) / "model.txt").read_text() == "net"


def test_single_version_whose_name_could_not_stand_in_a_header_is_none(seven):
    source = source_of(str(seven.rename(seven.parent / "модель")))
    assert candidates_of(source) == []
    assert "cannot be the name of a version" in source.look().versions[0].fault


def test_fingerprint_changes_with_the_files(seven):
    source = source_of(str(seven.parent))
    before = source.look()
    assert source.look() == before
    shutil.copystat(seven / "card.json", seven / "model.txt")
    assert source.look() != before


def test_choice_that_cannot_be_read_is_an_error(seven):
    (seven.parent / "chosen.json").write_text("{")
    with pytest.raises(ModelFileError, match=r"chosen.json' does not say which version to serve"):
        source_of(str(seven.parent)).look()


def test_choice_replaces_the_file_at_once(seven):
    source = source_of(str(seven.parent))
    source.choose("7")
    assert json.loads((seven.parent / "chosen.json").read_text())["version"] == "7"
    assert {each.name for each in seven.parent.iterdir()} == {"7", "chosen.json"}


def test_name_that_a_file_has_is_not_tried_for_ever(seven, build):
    seven.with_name("8").write_text("")
    with pytest.raises(ModelFileError, match="There is a version '8'"):
        source_of(str(seven.parent)).push(str(build))


# --- a full disk ---------------------------------------------------------------------------------

# A disk of 2 MiB, on which exactly the files of the version fit and its card does not, and then not
# even the files.
FULL_DISK = """\
import os, pathlib, sys
from carboy.models.sources import source_of

disk, (kind, missing) = pathlib.Path(sys.argv[1]), sys.argv[2:]
build = disk.with_name("build")
build.mkdir()
(build / "weights.bin").write_bytes(bytes(512 * 1024))
source = source_of(str(disk / "net") if kind == "folder" else "memory://net")
source.push(str(build), "7")
os.makedirs(disk / "cache", exist_ok=True)
ballast = disk / "ballast"
ballast.touch()
free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
ballast.write_bytes(bytes(free - 512 * 1024 + int(missing)))
try:
    if kind == "folder":
        source.push(str(build), "8")
    else:
        source.folder("7")
except Exception as exc:
    print(exc)
ballast.unlink()
own = {"lock", "versions.json"}
files = [path for path in disk.rglob("*") if path.is_file() and path.name not in own]
print(*(path.relative_to(disk) for path in files))
if kind == "url":
    print(*sorted(os.listdir(source.folder("7"))))
"""


@pytest.mark.integration  # needs commands that the chroot of newer Pythons lacks
@pytest.mark.parametrize("missing", [0, 4096], ids=["card", "files"])
@pytest.mark.parametrize("kind", ["folder", "url"])
def test_full_disk_leaves_nothing_behind(tmp_path, kind, missing):
    disk = tmp_path / "disk"
    disk.mkdir()
    own_mounts = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o size=2m,mode=700 disk {disk}"
    if subprocess.run([*own_mounts, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    result = subprocess.run(
        [
            *(*own_mounts, "sh", "-c", f'{mount} && exec "$@"', "sh"),
            *(sys.executable, "-c", FULL_DISK, disk, kind, str(missing)),
        ],
        env={**os.environ, CACHE_VARIABLE: str(disk / "cache")},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    said, left, *again = result.stdout.splitlines()
    assert f"is full: the version has {512 * 1024:,} bytes, and" in said
    if kind == "folder":
        assert set(left.split()) == {"net/7/card.json", "net/7/weights.bin"}
    else:
        assert (left, again) == ("", ["card.json weights.bin"])


# --- URLs ----------------------------------------------------------------------------------------


def test_version_is_fetched_once(url_source, build, cache):
    url_source.push(str(build), "7")
    folder = pathlib.Path(url_source.folder("7"))
    assert folder.is_relative_to(cache)
    inode = (folder / "model.txt").stat().st_ino
    assert url_source.folder("7") == str(folder)
    assert (folder / "model.txt").stat().st_ino == inode


def test_other_files_under_the_same_name_are_another_folder(url_source, build):
    url_source.push(str(build), "7")
    before, first = url_source.folder("7"), url_source.look()
    files = fsspec.filesystem("memory")
    top = url_source._url.removeprefix("memory:/")
    files.rm(f"{top}/7", recursive=True)
    (build / "model.txt").write_text("another")
    url_source.push(str(build), "7")
    assert url_source.look() != first
    after = url_source.folder("7")
    assert after != before
    assert (pathlib.Path(after) / "model.txt").read_text() == "another"


def test_version_without_its_card_is_not_complete(url_source, build):
    url_source.push(str(build), "7")
    top = url_source._url.removeprefix("memory:/")
    fsspec.filesystem("memory").pipe_file(f"{top}/8/model.txt", b"half")
    assert candidates_of(url_source) == ["7"]
    assert "is written last" in url_source.look().versions[-1].fault
    with pytest.raises(ModelFileError, match=r"Version '8' .* cannot be used"):
        url_source.folder("8")


@pytest.mark.parametrize("change", ["another", None], ids=["changed", "missing"])
def test_file_that_is_not_the_one_on_the_card_is_not_kept(url_source, build, cache, change):
    url_source.push(str(build), "7")
    files, place = fsspec.filesystem("memory"), url_source._url.removeprefix("memory:/")
    if change is None:
        files.rm_file(f"{place}/7/weights/first.bin")
    else:
        files.pipe_file(f"{place}/7/weights/first.bin", change.encode())
    with pytest.raises(ModelFileError, match=r"is not the file on its card|does not exist"):
        url_source.folder("7")
    assert not [path for path in cache.rglob("*") if path.name in {"7", "model.txt"}]


def empty(path: pathlib.Path) -> None:
    """As after a power failure."""
    path.write_bytes(b"")


@pytest.mark.parametrize("name", ["model.txt", "weights/first.bin", "card.json"])
@pytest.mark.parametrize("damage", [empty, pathlib.Path.unlink], ids=["empty", "missing"])
def test_damaged_copy_is_fetched_again(url_source, build, name, damage):
    url_source.push(str(build), "7")
    folder = pathlib.Path(url_source.folder("7"))
    content = (folder / name).read_bytes()
    damage(folder / name)
    assert pathlib.Path(source_of(url_source._url).folder("7")) == folder
    assert (folder / name).read_bytes() == content


@pytest.mark.parametrize("how", ["read", "load"])
def test_copy_that_turns_out_to_be_damaged_when_it_is_loaded_is_fetched_again(
    app, url_source, build, caplog, how
):
    @app.model("/predict", source=url_source._url)
    class Reading:
        def __init__(self, source: pathlib.Path) -> None:
            self.text = (source / "model.txt").read_text()
            if how == "load":
                load(source, read=lambda folder: folder)
            assert self.text == "net"

        def predict(self, x: int) -> str:
            return self.text + str(x)

    url_source.push(str(build), "7")
    copy = pathlib.Path(url_source.folder("7"), "model.txt")
    copy.write_text("ten")
    app.load_models()
    assert (app.models["predict"].predict(1), copy.read_text()) == ("net1", "net")
    assert "version '7' in " in caplog.text
    app.models.close()


def test_failure_of_a_model_whose_copy_is_whole_fetches_nothing(app, url_source, build):
    tries = []

    @app.model("/predict", source=url_source._url)
    class Failing:
        def __init__(self, source: pathlib.Path) -> None:
            tries.append((source / "model.txt").stat().st_ino)
            raise RuntimeError("no device")

        def predict(self, x: int) -> int:
            return x

    url_source.push(str(build), "7")
    copy = pathlib.Path(url_source.folder("7"), "model.txt")
    with pytest.raises(ModelLoadError, match="no device"):
        app.load_models()
    assert tries == [copy.stat().st_ino]


@pytest.mark.parametrize("name", ["7/card.json", "chosen.json"])
def test_file_that_is_nested_too_deeply_is_refused_by_name(source, build, name):
    source.push(str(build), "7")
    folder = source._url.removeprefix("memory:/") if hasattr(source, "_url") else source.location
    files = fsspec.filesystem("memory" if hasattr(source, "_url") else "file")
    nested = b"[" * 200_000 + b"]" * 200_000  # Python 3.12 and later take some thousands
    files.pipe_file(f"{folder}/{name}", b'{"version": "7", "newest": "7", "answer": %b}' % nested)
    if name == "chosen.json":
        try:
            source.look()  # Python 3.12 and later may skip what has no meaning
        except ModelFileError as exc:
            assert "does not say which version to serve" in str(exc)  # noqa: PT017
    else:
        assert "is not the card of a saved model" in source.look().versions[0].fault


def test_only_the_versions_used_last_stay_in_the_cache(url_source, build, cache):
    for number in range(9):
        (build / "model.txt").write_text(str(number))
        url_source.push(str(build))
        url_source.folder(str(number + 1))
        url_source.folder("1")
    kept = {path.parent.name for path in cache.rglob("model.txt")}
    assert kept == {"1", "5", "6", "7", "8", "9"}


def test_the_version_that_is_served_stays_in_the_cache(app, url_source, build, cache):
    @app.model("/predict", source=url_source._url)
    class Reading:
        def __init__(self, source: str) -> None:
            self.text = (pathlib.Path(source) / "model.txt").read_text()

        def predict(self, x: int) -> str:
            return self.text + str(x)

    url_source.push(str(build), "1")
    model = app.models["predict"]
    model.load()
    for number in range(2, 10):
        (build / "model.txt").write_text(str(number))
        url_source.push(str(build), str(number))
        url_source.choose("1")
        model.versions.refresh()
        url_source.folder(str(number))
    app.models.close()
    kept = {path.parent.name for path in cache.rglob("model.txt")}
    assert kept == {"1", "5", "6", "7", "8", "9"}


# A store that several processes use.
SHARED_BUCKET = """\
import sys
from carboy.models.sources import source_of
from fsspec import register_implementation
from fsspec.implementations.local import LocalFileSystem

class Bucket(LocalFileSystem):
    protocol = "bucket"

register_implementation("bucket", Bucket)
source = source_of(sys.argv[1])
"""
FETCH = f"{SHARED_BUCKET}\nprint(source.folder('7'))"
PUSH = f"{SHARED_BUCKET}\nprint(source.push(sys.argv[2]))"


def test_processes_that_fetch_at_the_same_time_get_one_folder(seven, cache):
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", FETCH, f"bucket://{seven.parent}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    found = [program.communicate(timeout=50)[0].strip() for program in programs]
    assert len(set(found)) == 1
    assert (pathlib.Path(found[0]) / "model.txt").read_text() == "net"


@pytest.mark.parametrize("scheme", ["", "bucket://"], ids=["folder", "url"])
def test_push_that_is_killed_adds_no_version(seven, build, tmp_path, scheme):
    command = [sys.executable, "-c", PUSH, f"{scheme}{seven.parent}"]
    stuck = pathlib.Path(shutil.copytree(seven, tmp_path / "stuck"))
    (stuck / "model.txt").unlink()
    os.mkfifo(stuck / "model.txt")  # nobody writes, so that reading it does not end
    with subprocess.Popen([*command, stuck]) as pushing:
        wait_until(lambda: len(list(seven.parent.iterdir())) > 1)
        pushing.kill()
    assert candidates_of(source_of(str(seven.parent))) == ["7"]
    pushed = subprocess.run([*command, build], capture_output=True, text=True, check=True)
    assert pushed.stdout.strip() == ("8" if not scheme else "9")
    assert candidates_of(source_of(str(seven.parent)))[1:] == ["7"]


def test_rest_of_a_fetch_that_was_killed_is_removed(url_source, build):
    url_source.push(str(build), "7")
    entry = pathlib.Path(url_source.folder("7")).parent
    shutil.rmtree(entry / "7")
    (entry / ".partial-0123").mkdir()
    url_source.folder("7")
    assert [each.name for each in entry.iterdir()] == ["7"]


def test_cache_that_other_users_may_write_is_refused(url_source, build, cache):
    url_source.push(str(build), "7")
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(ModelFileError, match="can be written by other users"):
        url_source.folder("7")


@pytest.fixture
def shared_tmp(tmp_path, monkeypatch):
    """A folder for all users, and no other one that caches models."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    for name in (CACHE_VARIABLE, "CACHE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def give_away(monkeypatch):
    """Let a path belong to another user, as the given functions of `os` say it."""

    def give(path: pathlib.Path, *functions: str) -> None:
        for name in functions:
            monkeypatch.setattr(os, name, functools.partial(look, getattr(os, name), str(path)))

    def look(function, path, asked, **options):
        found = function(asked, **options)
        if asked != path:
            return found
        return os.stat_result([*found[:4], os.geteuid() + 1, *found[5:]])

    return give


def test_cache_in_a_folder_that_another_user_has_created_is_refused(
    url_source, build, shared_tmp, give_away
):
    url_source.push(str(build), "7")
    around = shared_tmp / f"carboy-cache-{os.geteuid()}"
    (around / "models").mkdir(parents=True, mode=0o700)
    around.chmod(0o777)
    give_away(around, "stat", "lstat")
    with pytest.raises(ModelFileError, match=rf"'{around}' belongs to another user"):
        url_source.folder("7")
    assert around.stat().st_mode & 0o777 == 0o777


def test_models_that_others_may_have_written_are_refused_in_a_folder_of_this_user(
    url_source, build, shared_tmp
):
    url_source.push(str(build), "7")
    models = shared_tmp / f"carboy-cache-{os.geteuid()}" / "models"
    models.mkdir(parents=True)
    models.chmod(0o777)
    with pytest.raises(ModelFileError, match=rf"'{models}' can be written by other users"):
        url_source.folder("7")


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_cache_that_others_may_write_around_is_kept_from_them(url_source, build, shared_tmp, mode):
    """Earlier versions have created the folder around it as the umask said."""
    url_source.push(str(build), "7")
    around = shared_tmp / f"carboy-cache-{os.geteuid()}"
    (around / "models").mkdir(parents=True, mode=0o700)
    around.chmod(mode)
    assert pathlib.Path(url_source.folder("7")).is_relative_to(around / "models")
    assert around.stat().st_mode & 0o777 == 0o700


def test_link_to_a_folder_that_others_may_write_is_no_cache(
    url_source, build, shared_tmp, tmp_path
):
    url_source.push(str(build), "7")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o775)
    (shared_tmp / f"carboy-cache-{os.geteuid()}").symlink_to(shared)
    with pytest.raises(ModelFileError, match="can be written by other users"):
        url_source.folder("7")
    assert shared.stat().st_mode & 0o777 == 0o775


def test_cache_is_created_for_this_user_alone(url_source, build, shared_tmp):
    url_source.push(str(build), "7")
    umask = os.umask(0)
    try:
        folder = pathlib.Path(url_source.folder("7"))
    finally:
        os.umask(umask)
    created = [each for each in folder.parents if each.is_relative_to(shared_tmp)][:-1]
    assert {oct(each.stat().st_mode & 0o777) for each in created} == {"0o700"}


def test_link_of_another_user_is_no_cache(url_source, build, shared_tmp, tmp_path, give_away):
    url_source.push(str(build), "7")
    (tmp_path / "own").mkdir(mode=0o700)
    link = shared_tmp / f"carboy-cache-{os.geteuid()}"
    link.symlink_to(tmp_path / "own")
    give_away(link, "lstat")
    with pytest.raises(ModelFileError, match="belongs to another user"):
        url_source.folder("7")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nothing://bucket/digits", "cannot be opened: Protocol not known"),
        ("sftp://ada:hunter2@localhost/digits", "sftp://ada:.*@localhost/digits' cannot be opened"),
    ],
    ids=["unknown protocol", "missing library"],
)
def test_url_that_cannot_be_opened_is_explained_without_its_password(url, says):
    with pytest.raises(ModelFileError, match=says) as refused:
        source_of(url).look()
    assert "hunter2" not in str(refused.value)


class Bucket(fsspec.implementations.memory.MemoryFileSystem):
    """A store that may be down."""

    protocol = "bucket"
    store: t.ClassVar = {}
    pseudo_dirs: t.ClassVar = [""]
    is_down = False

    def ls(self, *args, **options):
        self._refuse_if_down()
        return super().ls(*args, **options)

    def cat_file(self, *args, **options):
        self._refuse_if_down()
        return super().cat_file(*args, **options)

    def _refuse_if_down(self):
        if self.is_down:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


@pytest.fixture
def bucket(monkeypatch):
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    monkeypatch.setattr(Bucket, "is_down", False)
    return f"bucket://{uuid.uuid4()}/digits"


def test_store_that_is_down_is_no_empty_store(bucket, build, monkeypatch):
    source = source_of(bucket)
    source.push(str(build), "7")
    before = source.look()
    monkeypatch.setattr(Bucket, "is_down", True)
    with pytest.raises(UnreachableSourceError, match="cannot be reached: ConnectionRefusedError"):
        source.look()
    monkeypatch.setattr(Bucket, "is_down", False)
    assert source.look() == before


def test_process_that_starts_while_the_store_is_down_uses_what_was_fetched(
    bucket, build, monkeypatch, caplog
):
    source = source_of(bucket)
    for number in range(7, 11):
        (build / "model.txt").write_text(str(number))
        source.push(str(build), str(number))
    folders = {name: source.folder(name) for name in ("7", "8", "9")}
    source.choose("9")
    source.look()
    monkeypatch.setattr(Bucket, "is_down", True)
    restarted = source_of(bucket)
    assert candidates_of(restarted) == ["9", "8", "7"]
    assert {name: restarted.folder(name) for name in folders} == folders
    (logged,) = caplog.messages
    assert "the versions are used that were fetched before: 7, 8, 9." in logged
    with pytest.raises(UnreachableSourceError):
        restarted.choose("7")
    empty(pathlib.Path(folders["8"], "card.json"))
    empty(pathlib.Path(folders["9"], "model.txt"))
    assert candidates_of(source_of(bucket)) == ["7"]  # the others are damaged
    monkeypatch.setattr(Bucket, "is_down", False)
    assert names_of(restarted) == ["7", "8", "9", "10"]


def test_claim_of_another_process_refuses_the_name(url_source, build):
    top = url_source._url.removeprefix("memory:/")
    fsspec.filesystem("memory").pipe_file(f"{top}/7/.writing-0123", b"")
    with pytest.raises(ModelFileError, match="Another process is writing version '7'"):
        url_source.push(str(build), "7")
    assert url_source.push(str(build)) == "8"


def test_url_is_refused_at_registration_without_fsspec(app, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ValueError, match=r"needs fsspec .* python -m pip install") as refused:

        @app.model("/digits", source="s3://ada:hunter2@bucket/digits")
        class Digits:
            def __init__(self, path: pathlib.Path) -> None: ...
            def predict(self, x: int) -> int: ...

    assert "hunter2" not in str(refused.value)
