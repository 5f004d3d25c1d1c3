"""Store files that clients have sent, and send them back.

    save(file, folder, ...)   check a file, and store it under a new name
    save_all(files, ...)      check several files, and store all of them, or none
    files(folder, owner=...)  the stored files, newest first
    view(folder)              a view that sends the stored files to clients
    SavedFile                 name, path, size and media type of a stored file

The content of a file decides what it is, never its name or the media type that the client has sent.
Names on disk are random. A file appears in the folder only when it is complete.

    saving         save(), save_all(): checks, then all files of one call are stored, or none
    clientnames    the names that clients have given to their files
    contenttypes   what a file is, by its content
    picturesize    how many pixels a picture has, by its header
    uploadfolder   the folder on disk: locks, names, owners, quota, temporary files
    sending        view()
"""

from __future__ import annotations

from .saving import DEFAULT_TYPES as DEFAULT_TYPES
from .saving import save as save
from .saving import save_all as save_all
from .sending import view as view
from .uploadfolder import SavedFile as SavedFile
from .uploadfolder import files as files
