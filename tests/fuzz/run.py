"""Send changed requests to the parts of carboy that read what clients send (`make fuzz`).

    run.py                          each target in turn, 10^6 inputs together
    run.py --target npy --inputs 5000 --seed 7
    run.py --target npy --file .cache/fuzz/npy-failed      one input again

If atheris is installed (`pip install atheris`), it chooses inputs by the code that they reach;
otherwise inputs are changed at random. Each target has a process of its own. An input that ends
the process, or gets a response of 500 or more, is stored in .cache/fuzz; the command then ends
with 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import mmap
import os
import pathlib
import random
import subprocess
import sys
import time
import typing as t

sys.path.insert(0, os.fspath(pathlib.Path(__file__).resolve().parent))

from mutations import mutated

FOLDER = pathlib.Path(__file__).resolve().parents[2] / ".cache" / "fuzz"
# How many inputs each target gets: 10^6 together. A table takes 4 ms, an array 0.3.
INPUTS = {
    "front": 260_000,
    "multipart": 260_000,
    "npy": 200_000,
    "v2": 150_000,
    "json": 70_000,
    "parquet": 25_000,
    "arrow": 35_000,
}
# The longest input that is kept for the case that the process dies.
_KEPT_BYTES = 2**20


class LastInput:
    """The input that is being sent, in a file that survives a crash of the process.

    PERF: the file is mapped into memory; writing a file for each input would take longer than most
    requests.
    """

    def __init__(self, path: pathlib.Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process that still uses the file keeps its own: writing into it would be a SIGBUS.
        path.unlink(missing_ok=True)
        path.write_bytes(bytes(_KEPT_BYTES + 8))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)

    def keep(self, data: bytes) -> None:
        self._memory[:8] = len(data).to_bytes(8, "big")
        self._memory[8 : 8 + len(data[:_KEPT_BYTES])] = data[:_KEPT_BYTES]

    @staticmethod
    def read(path: pathlib.Path) -> bytes:
        data = path.read_bytes()
        return data[8 : 8 + int.from_bytes(data[:8], "big")]


def fuzz(name: str, inputs: int, seed: int, *, guided: bool) -> None:
    """Send changed inputs to a target; raises what the target raises."""
    # A refused input is logged as the client's error; failures are raised.
    logging.disable()
    if guided:
        import atheris

        with atheris.instrument_imports(include=["carboy.contract", "carboy.serving.http"]):
            from targets import TARGETS
    else:
        from targets import TARGETS
    target, last = TARGETS[name](), LastInput(FOLDER / f"{name}-last")

    def send(data: bytes) -> None:
        last.keep(data)
        target.send(data)

    for each in target.seeds:
        send(each)
    if guided:
        _fuzz_guided(send, target, name, inputs, seed)
        return
    chance = random.Random(seed)
    for _ in range(inputs):
        send(mutated(chance, target.seeds, target.words))


def _fuzz_guided(
    send: t.Callable[[bytes], None], target: t.Any, name: str, inputs: int, seed: int
) -> None:
    import atheris

    corpus = FOLDER / f"{name}-corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for i, each in enumerate(target.seeds):
        (corpus / f"seed-{i}").write_bytes(each)
    words = FOLDER / f"{name}-words"
    words.write_text(
        "".join('"' + "".join(f"\\x{byte:02x}" for byte in each) + '"\n' for each in target.words)
    )
    options = [f"-runs={inputs}", f"-seed={seed}", f"-dict={words}", "-max_len=8192"]
    atheris.Setup([name, *options, "-verbosity=0", os.fspath(corpus)], send)
    atheris.Fuzz()


def run_apart(name: str, inputs: int, seed: int, *, guided: bool) -> bool:
    """Fuzz a target in another process. Returns whether all inputs were answered."""
    begin = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, __file__, "--target", name, "--inputs", str(inputs)),
            *("--seed", str(seed), "--here", *([] if guided else ["--random"])),
        ],
        check=False,
    )
    if done.returncode == 0:
        print(f"{name}: {inputs:,} inputs in {time.monotonic() - begin:.0f} s", flush=True)
        return True
    failed = FOLDER / f"{name}-failed"
    failed.write_bytes(LastInput.read(FOLDER / f"{name}-last"))
    print(f"{name}: ended with {done.returncode}; the input is {failed}", flush=True)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--target", choices=INPUTS, action="append")
    parser.add_argument("--inputs", type=int, help="of each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--file", type=pathlib.Path, help="send this input only")
    parser.add_argument("--random", action="store_true", help="do not use atheris")
    parser.add_argument("--here", action="store_true", help="in this process")
    given = parser.parse_args()
    names = given.target or list(INPUTS)
    guided = not given.random and importlib.util.find_spec("atheris") is not None
    if given.file:
        from targets import TARGETS

        TARGETS[names[0]]().send(given.file.read_bytes())
        return 0
    if given.here:
        for name in names:
            fuzz(name, given.inputs or INPUTS[name], given.seed, guided=guided)
        return 0
    print("inputs are chosen by atheris" if guided else "inputs are changed at random", flush=True)
    failed = [
        name
        for name in names
        if not run_apart(name, given.inputs or INPUTS[name], given.seed, guided=guided)
    ]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
