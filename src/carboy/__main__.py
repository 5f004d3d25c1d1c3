"""`python -m carboy` is the `carboy` command."""

from __future__ import annotations

from carboy.cli import main

main()
