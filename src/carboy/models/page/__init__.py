"""The page on which to try a model: what a browser gets at the model's own URL.

`render` is a function of the model's description; `views` gives page and files their URLs; the rest
is in `assets`, a program for the browser that makes the form from the types. There is no build
step, nothing is loaded from elsewhere, and the page's policy allows no inline code.
"""

from __future__ import annotations
