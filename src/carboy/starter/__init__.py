"""Create the folder and files of a new project, for the command `carboy new`.

names      check the name of a new project
sources    make the files of a project from the templates in the folder `files`
packing    pack the running carboy into a wheel, from which the project installs carboy
creation   write the folder of a project, all of it or nothing
"""

from __future__ import annotations

import typing as t

#: What `carboy new --with` may put into a project, and what each part is. Default: the first part.
PARTS: t.Mapping[str, str] = {
    "page": "a page with a form",
    "api": "a JSON API that checks its input and documents itself",
    "model": "a model with its own URL",
    "upload": "a form that takes pictures and shows them",
}
