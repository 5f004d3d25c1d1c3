"""Check the names that clients have given to their files.

carboy stores each file under a random name, never under the name that the client gave to it. Names
of clients are checked all the same, because programs show them, log them and offer them for
download: a name that is a path, a device of Windows, or a text that people read as another text,
comes from a mistake or an attack.
"""

from __future__ import annotations

import re
import unicodedata

# File systems store at most 255 bytes (Linux) or 255 characters (Windows, macOS) of a name.
MAX_CHARACTERS = 255

# Names that Windows takes for devices instead of files, even with a suffix: "CON", "con.txt".
# Source: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_DEVICE = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³]) *(?:\..*)?", re.IGNORECASE
)

# The categories of Unicode whose characters a file name must not contain: control characters,
# surrogates, and the separators of lines and paragraphs (U+2028, U+2029), which some programs that
# read logs take for line ends.
_CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})

# The characters that change the direction of text. With them a program could look like a picture:
# "photo<U+202E>gnp.exe" is shown as "photoexe.png". Source: property Bidi_Control of Unicode.
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain_name(sent: str) -> str:
    """Return the name of a file without the folders before it: old browsers send the whole path of
    a file as its name, and so does each browser that uploads a whole folder.
    """
    return sent.replace("\\", "/").rpartition("/")[2]


def fault_of_name(sent: str) -> str:
    """Return why a file name that a client has sent is refused; "" if the name is accepted."""
    if len(sent) > MAX_CHARACTERS:
        return f"a name of {len(sent)} characters"
    if any(unicodedata.category(each) in _CONTROL for each in sent):
        return "a name with a control character or a line separator"
    if _DIRECTION.search(sent):
        return "a name with a character that changes the direction of text"
    if ".." in sent.replace("\\", "/").split("/"):
        return "a name with the folder '..'"
    name = plain_name(sent)
    if not name.strip(". "):
        return "a path without a file name"
    return "the name of a device of Windows" if _DEVICE.fullmatch(name) else ""


def shown(sent: str) -> str:
    """Return how an error message shows a file name that a client has sent: shortened, in quotes,
    and with escapes for all characters that are not printable.
    """
    name = plain_name(sent)
    short = name if len(name) <= 60 else f"{name[:40]}...{name[-15:]}"
    return repr(short)
