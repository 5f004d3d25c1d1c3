"""A limit on the memory that all connections of a server together may use for one purpose, such as
the bodies of responses.
"""

from __future__ import annotations

from _thread import allocate_lock


class Budget:
    """Counts the bytes that are reserved, and refuses to exceed a limit. Thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = allocate_lock()
        self.held_bytes = 0

    def reserve(self, size_bytes: int) -> bool:
        """Reserve `size_bytes` more, and return True. If that would exceed the limit, reserve
        nothing and return False.
        """
        with self._lock:
            if self.held_bytes + size_bytes > self._most_bytes:
                return False
            self.held_bytes += size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        with self._lock:
            self.held_bytes -= size_bytes
