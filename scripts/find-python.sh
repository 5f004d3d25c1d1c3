#!/bin/sh
# Print the first Python that carboy runs on. PYTHON in the environment comes before all others;
# 3.15 after those for which all that tests need has wheels.
for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 \
    python3.15 python "$HOME"/.pyenv/versions/3.1[1-9]*/bin/python3; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        command -v "$candidate"
        exit 0
    fi
done
echo "carboy needs Python 3.11 or newer, and none was found on PATH." >&2
echo "Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2
exit 1
