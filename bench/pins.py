"""Write bench/pins/*.txt anew: for each environment of the benchmarks the newest versions of all
that it has, with the hashes of their files.

    python bench/pins.py [NAME ...]

`make bench` installs by these files alone, so that two runs of one commit have the same peers.
"""

from __future__ import annotations

import sys

import _peers
import cluster

HEAD = "# Written by `make pins`; the requirements are those of bench/{source}.\n"


def requirements() -> dict[str, tuple[str, list[str], bool]]:
    """Return by environment the file that says what it needs, what that is, and whether it also
    needs what carboy needs.
    """
    listed = (_peers.ROOT / "bench" / "requirements.in").read_text().splitlines()
    found = {"bench": ("requirements.in", [line for line in listed if line[:1] != "#"], True)}
    for peer in (*_peers.PEERS, cluster.ON_RAY):
        if peer.requires:
            needed = [*_peers.COMMON, *peer.requires]
            found[peer.pinned] = ("_peers.py", needed, peer.project is not None)
    return found


def main(names: list[str]) -> None:
    bootstrap = _peers.bootstrap()
    import hashedpins

    known = requirements()
    if unknown := set(names) - known.keys():
        raise SystemExit(f"pins.py knows {', '.join(known)}; got {', '.join(sorted(unknown))}")
    _peers.PINS.mkdir(exist_ok=True)
    with hashedpins.resolver() as resolve:
        for name in names or known:
            source, needed, with_carboy = known[name]
            text = resolve(needed, with_carboy)
            (_peers.PINS / f"{name}.txt").write_text(HEAD.format(source=source) + text)
            bootstrap.say(f"{text.count('==')} versions in bench/pins/{name}.txt")


if __name__ == "__main__":
    main(sys.argv[1:])
