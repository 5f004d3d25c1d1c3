"""Rules for names: one class per name, no modules with confusable names, no private words, and a
list of its modules in each package.
"""

from __future__ import annotations

import ast
import collections
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "carboy"

# Modules with the same name in several packages, and why readers cannot confuse them.
SAME_STEM = {
    "__init__": "a package's own module",
    "app": "Flask's module paths: sansio is an alias",
    "blueprints": "Flask's module paths: sansio is an alias",
    "scaffold": "Flask's module paths: sansio is an alias",
    "host": "in each package, the part of the application class that belongs to the package",
}

# Packages whose docstrings do not list their modules, and why.
WITHOUT_A_LIST = {
    ".": "Flask's own modules, which have Flask's documentation",
    "sansio": "an alias",
}

# Words that this code once used with its own meaning, and the standard words for them.
PRIVATE_WORDS = {
    "amid": "in the stream",
    "bell": "wake event",
    "crew": "leader/followers",
    "desk": "route",
    "gate": "event",
    "habits": "timing",
    "lane": "fast path, stage",
    "lanes": "fast path, stages",
    "ledger": "queue state",
    "office": "route",
    "revive": "from_json",
    "revived": "from_json",
    "shift": "leader's turn",
    "spell": "write",
    "spelling": "form",
    "spelt": "written",
    "stroll": "walk",
}

# Files that use one of these words with its ordinary meaning.
ALLOWED_WORDS = {
    "src/carboy/contract/values/tables/parquetsize.py": "shift: of bits",
    "src/carboy/contract/values/text.py": "shift: Shift JIS, an encoding",
    "tests/contract/values/test_text.py": "shift: Shift JIS, an encoding",
}

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def classes_in_several_modules() -> dict[str, str]:
    modules = collections.defaultdict[str, set[str]](set)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                modules[node.name].add(path.relative_to(PACKAGE).as_posix())
    return {name: " ".join(sorted(found)) for name, found in modules.items() if len(found) > 1}


def stems_of_several_modules() -> dict[str, str]:
    modules = collections.defaultdict[str, set[str]](set)
    for path in PACKAGE.rglob("*.py"):
        modules[path.stem].add(path.relative_to(PACKAGE).as_posix())
    return {
        stem: " ".join(sorted(found))
        for stem, found in modules.items()
        if len(found) > 1 and stem not in SAME_STEM
    }


def modules_without_a_line() -> dict[str, str]:
    """Return the modules of each package that the package's own docstring does not name."""
    found = {}
    for path in PACKAGE.rglob("__init__.py"):
        package = path.parent.relative_to(PACKAGE).as_posix()
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        named = set(re.findall(r"\w+", text))
        missing = {each.stem for each in path.parent.glob("*.py")} - named - {"__init__"}
        if missing and package not in WITHOUT_A_LIST:
            found[package] = " ".join(sorted(missing))
    return found


def private_words() -> dict[str, str]:
    """Return the private words in each file's name, identifiers, comments and strings."""
    found: dict[str, str] = {}
    files = [path for top in ("src", "tests", "docs") for path in (ROOT / top).rglob("*.*")]
    for path in files:
        if path.suffix not in {".py", ".md"} or path == pathlib.Path(__file__):
            continue
        name = path.relative_to(ROOT).as_posix()
        text = f"{path.stem}\n{path.read_text(encoding='utf-8')}"
        words = {word.lower() for word in _WORD.findall(text)} & PRIVATE_WORDS.keys()
        words -= set(ALLOWED_WORDS.get(name, "").partition(":")[0].split())
        if words:
            found[name] = " ".join(sorted(words))
    return found


def test_no_two_modules_define_a_class_of_the_same_name() -> None:
    assert classes_in_several_modules() == {}


def test_no_two_modules_have_the_same_name() -> None:
    assert stems_of_several_modules() == {}


def test_docstring_of_each_package_lists_its_modules() -> None:
    assert modules_without_a_line() == {}


def test_private_words_are_not_used() -> None:
    assert private_words() == {}
