"""Run the command `carboy` for `python -m carboy`."""

from __future__ import annotations

from carboy.cli import main

main()
