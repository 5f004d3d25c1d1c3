"""Create new projects, for `carboy new`.

names      which names a project may have
sources    the files of a project, made from the templates in the folder `files`
packing    a wheel of the running carboy, from which the project can be installed
creation   write a project's folder, all of it or nothing
"""

from __future__ import annotations

import typing as t

#: What a project may contain, and what each part is. The first is the default.
PARTS: t.Mapping[str, str] = {
    "page": "a page with a form",
    "api": "a JSON API that checks its input and documents itself",
    "model": "a model with its own URL",
    "upload": "a form that takes pictures and shows them",
}
