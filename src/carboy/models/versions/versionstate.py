"""The states of a version in one process, and how one follows another.

`NEXT` is the whole of it: the picture in docs/howto/model-versions.md is drawn from it. A version
that has ended has no state. One that is loaded again, under the same name, begins anew.
"""

from __future__ import annotations

import dataclasses
import math
import time
import typing as t

if t.TYPE_CHECKING:
    from .modelversion import ModelVersion

State = t.Literal["loading", "serving", "canary", "shadow", "draining", "failed"]

# By state: those that may follow, each with what has happened.
NEXT: t.Mapping[State, t.Mapping[State, str]] = {
    "loading": {
        "serving": "loaded",
        "canary": "loaded",
        "shadow": "loaded",
        "failed": "fails",
    },
    "canary": {"serving": "chosen", "draining": "trial ended"},
    "shadow": {"serving": "chosen", "draining": "trial ended"},
    "serving": {"draining": "replaced"},
    "draining": {},
    "failed": {},
}


@dataclasses.dataclass(slots=True)
class VersionState:
    """The state of one version of a model in this process.

    Attributes:
        fingerprint: that of the source when the version was loaded, or could not be.
        reason: why the version failed; empty in any other state.
        since_s: when the version got into this state, in seconds since 1970.
        version: None if the version is not loaded.
        retry_at_s: when a version that failed may be tried again without new files, as by
            `time.monotonic`; infinite if it failed by its files.
    """

    name: str
    state: State
    fingerprint: str = ""
    reason: str = ""
    since_s: float = dataclasses.field(default_factory=time.time)
    version: ModelVersion | None = None
    retry_at_s: float = math.inf

    def become(self, state: State, reason: str = "") -> None:
        """Change the state.

        Raises:
            ValueError: the state does not follow the present one. Nothing has changed.
        """
        if state not in NEXT[self.state]:
            raise ValueError(f"version {self.name!r} is {self.state}: it cannot become {state}")
        self.state, self.reason, self.since_s = state, reason, time.time()

    @property
    def is_passing(self) -> bool:
        """Whether the version failed for a reason that is not in its files."""
        return self.state == "failed" and self.retry_at_s < math.inf

    def waits(self, fingerprint: str) -> bool:
        """Return whether files with a fingerprint failed for such a reason only just now."""
        waits = self.is_passing and time.monotonic() < self.retry_at_s
        return waits and self.fingerprint == fingerprint

    def was_tried(self, fingerprint: str, *, retry: bool = False) -> bool:
        """Return whether it is known what comes of loading files with a fingerprint.

        Args:
            retry: whether to try those again that failed.
        """
        again = self.is_passing or (retry and self.state == "failed")
        return self.fingerprint == fingerprint and not again

    def to_dict(self) -> dict[str, t.Any]:
        """Return plain JSON values."""
        version = self.version
        return {
            "version": self.name,
            "state": self.state,
            "reason": self.reason,
            "since_s": round(self.since_s, 3),
            "loaded_bytes": version.replica.loaded_bytes if version is not None else 0,
        }
