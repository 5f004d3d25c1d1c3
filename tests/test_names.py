"""Names that a reader can rely on: one class per name, no confusable modules, no private words."""

from __future__ import annotations

import ast
import collections
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "carboy"

# Modules of one name in several packages, and why nobody confuses them.
SAME_STEM = {
    "__init__": "a package's own module",
    "app": "Flask's module paths: sansio is an alias",
    "blueprints": "Flask's module paths: sansio is an alias",
    "scaffold": "Flask's module paths: sansio is an alias",
    "host": "in each package, the part of the application class that belongs to the package",
}

# Duplicates that remain. Remove an entry when its duplicate is gone; add none.
KNOWN_CLASSES: dict[str, str] = {
    "Answer": "contract/operation.py models/answers.py",
    "Body": "contract/markers.py models/codec.py",
    "Columns": "contract/values/tables/columns.py models/queue/calls.py",
    "File": "contract/markers.py models/calling.py",
    "Form": "contract/markers.py models/forms.py",
    "Header": "contract/markers.py contract/values/npy.py",
    "Parameter": "contract/operation.py models/schema.py",
    "Prediction": "models/futures.py serving/prediction.py",
    "RequestBody": "contract/operation.py models/view.py",
    "Source": "contract/parameters.py models/replicas.py",
    "Stream": "contract/framing.py models/queue/stream.py",
    "Taken": "contract/kinds.py models/queue/batcher.py",
    "_App": "models/failures.py models/view.py",
    "_Builder": "contract/signature.py openapi/postman.py",
}

KNOWN_STEMS: dict[str, str] = {
    "answers": "contract/answers.py models/answers.py",
    "failures": "cli/failures.py models/failures.py",
    "limits": "contract/values/tables/limits.py serving/http/limits.py",
    "predictions": "openapi/predictions.py serving/predictions.py",
    "problems": "contract/problems.py core/problems.py",
    "registry": "contract/values/registry.py models/registry.py",
    "schemas": "contract/schemas.py openapi/schemas.py",
}

# Words that this code used with a meaning of its own, and the field's words for them.
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
    "spelled": "written",
    "spelling": "form",
    "spells": "writes",
    "spelt": "written",
    "stroll": "walk",
    "told": "notified, reported",
    "wants": "needs, accepts",
}

# Uses of these words with their ordinary meaning.
ALLOWED_WORDS = {
    "src/carboy/contract/values/tables/parquetsize.py": "shift: of bits",
    "src/carboy/contract/values/text.py": "shift: Shift JIS, an encoding",
    "tests/contract/values/test_text.py": "shift: Shift JIS, an encoding",
}

# Files that still use private words. Remove an entry when the word is gone; add none.
KNOWN_WORDS: dict[str, str] = {
    "docs/models.md": "told",
    "docs/types.md": "told",
    "src/carboy/contract/__init__.py": "gate",
    "src/carboy/contract/bodies.py": "revive spelling",
    "src/carboy/contract/framing.py": "told wants",
    "src/carboy/contract/hooks.py": "revive",
    "src/carboy/contract/negotiation.py": "wants",
    "src/carboy/contract/problems.py": "told",
    "src/carboy/contract/records.py": "revive",
    "src/carboy/contract/refusing.py": "told",
    "src/carboy/contract/values/registry.py": "revive spelling",
    "src/carboy/contract/values/tables/columns.py": "told",
    "src/carboy/contract/values/tables/csv.py": "spell spelled spelling told",
    "src/carboy/contract/values/tables/parquetsize.py": "told",
    "src/carboy/contract/values/tables/value.py": "revive",
    "src/carboy/contract/values/tables/writing.py": "spelling",
    "src/carboy/contract/values/tensor.py": "revive",
    "src/carboy/contract/values/text.py": "revive",
    "src/carboy/models/answers.py": "told",
    "src/carboy/models/bulk.py": "told wants",
    "src/carboy/models/bulkfiles.py": "told",
    "src/carboy/models/bulktables.py": "revive",
    "src/carboy/models/calling.py": "revive",
    "src/carboy/models/codec.py": "revive told",
    "src/carboy/models/failures.py": "amid told",
    "src/carboy/models/forms.py": "revive told",
    "src/carboy/models/model.py": "wants",
    "src/carboy/models/queue/batcher.py": "told wants",
    "src/carboy/models/queue/computing.py": "wants",
    "src/carboy/models/queue/deadlines.py": "bell ledger wants",
    "src/carboy/models/queue/joining.py": "told",
    "src/carboy/models/queue/scheduler.py": "gate ledger told",
    "src/carboy/models/queue/state.py": "gate ledger",
    "src/carboy/models/queue/stream.py": "gate wants",
    "src/carboy/models/queue/threads.py": "bell ledger",
    "src/carboy/models/queue/ticket.py": "gate",
    "src/carboy/models/queue/waking.py": "bell gate",
    "src/carboy/models/schema.py": "revive",
    "src/carboy/models/view.py": "amid told wants",
    "src/carboy/models/ways.py": "wants",
    "src/carboy/openapi/operations.py": "spelling told",
    "src/carboy/openapi/predictions.py": "spell spelling",
    "src/carboy/openapi/spelling.py": "spell spelling",
    "src/carboy/serving/office.py": "desk office wants",
    "src/carboy/serving/prediction.py": "amid desk office wants",
    "src/carboy/serving/predictions.py": "amid desk office told wants",
    "tests/contract/test_as_flask.py": "told",
    "tests/contract/test_bodies.py": "told",
    "tests/contract/test_framing.py": "amid",
    "tests/contract/test_signature.py": "wants",
    "tests/contract/values/test_tables.py": "revive revived told",
    "tests/contract/values/test_tensor.py": "revive told",
    "tests/contract/values/test_text.py": "revive spelling",
    "tests/models/queue/test_batcher.py": "told",
    "tests/models/queue/test_scheduler.py": "ledger told",
    "tests/models/queue/test_stream.py": "ledger told",
    "tests/models/test_bad_input.py": "told",
    "tests/models/test_bulk.py": "told",
    "tests/models/test_codec.py": "told",
    "tests/models/test_faults_over_http.py": "amid told",
    "tests/models/test_faults_served.py": "gate told",
    "tests/models/test_health.py": "gate told",
    "tests/models/test_registry.py": "told",
    "tests/models/test_schema.py": "revive",
    "tests/models/test_stream_answers.py": "told",
    "tests/models/test_tables_served.py": "gate",
    "tests/models/test_view.py": "told",
    "tests/openapi/test_operations.py": "told",
    "tests/serving/test_http_served.py": "office told",
    "tests/serving/test_predictions.py": "amid office",
    "tests/serving/test_predictions_served.py": "told",
    "tests/serving/test_rounds.py": "desk",
    "tests/support/overdue.py": "ledger",
    "tests/test_config.py": "told",
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


def private_words() -> dict[str, str]:
    """The private words of each file, in identifiers, comments, texts and its name."""
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
    assert classes_in_several_modules() == KNOWN_CLASSES


def test_no_two_modules_have_the_same_name() -> None:
    assert stems_of_several_modules() == KNOWN_STEMS


def test_private_words_are_not_used() -> None:
    assert private_words() == KNOWN_WORDS
