"""Settings of Sphinx for the documentation site, which `make docs` builds.

The pages are plain Markdown, so that they can be read on a code host as well. What only the site
has comes from docs/_site: the navigation, made from the lists of index.md, the names of files above
code blocks, and the markup of docstrings.
"""

from __future__ import annotations

import pathlib
import sys
from importlib.metadata import version as version_of

sys.path.insert(0, str(pathlib.Path(__file__).parent / "_site"))

project = "carboy"
author = "The carboy founders"
project_copyright = "The carboy founders"
version = release = version_of("carboy")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "filenames",
    "navigation",
    "outside",
    "docstrings",
]
exclude_patterns = ["_site"]
# A block without a language is output or a table; Sphinx would take it for Python.
highlight_language = "none"
default_role = "code"
nitpicky = False

myst_heading_anchors = 4  # as code hosts make them: page.md#heading-of-a-section
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
add_module_names = False
toc_object_entries_show_parents = "hide"

# The text that is copied has no prompts and no output.
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"

html_theme = "furo"
html_title = f"carboy {release}"
html_static_path = ["_site/static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_use_index = True
html_theme_options = {"navigation_with_keys": True}
# The fonts of the reader's system, and no icon from elsewhere.
html_favicon = "_site/static/icon.svg"
