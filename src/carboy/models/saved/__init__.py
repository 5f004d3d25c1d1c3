"""Model files: written with a card beside them, compared with the card when they are read, and
explained when they cannot be read.

`save` writes a folder with the files of one version of a model and `card.json`, and `load` reads
it. `failures` explains errors of any file that a program reads by hand as well.
"""

from __future__ import annotations
