"""Model files: written with a card beside them, compared with the card when they are read, and
explained when they cannot be read.

    savemodel       `save` writes a folder with the files of one version of a model and its card
    loadmodel       `load` reads it
    card            the card: `card.json`
    fileformats     the formats of files, each with the library that reads it
    mlflowmodel     models that MLflow has saved
    newfolder       folders that appear complete
    versionnames    what a version may be called
    filestates      whether files have changed since
    digests         digests, in cards and beside other files
    libraries       versions of libraries
    loadfailures    explains why a file cannot be read, also one that a program reads by hand
    pickles         what a pickle says of itself, without running it
    tracebackfiles  the file that was being read when an error was raised
"""

from __future__ import annotations
