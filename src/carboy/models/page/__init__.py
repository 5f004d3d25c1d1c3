"""The page on which people try a model: a browser gets it at the model's own URL.

`rendering` makes the HTML from the model's description, `endpoints` adds the URLs, and `files`
loads
`assets`, the program for the browser that builds a form from the types. There is no build step,
nothing is loaded from other hosts, and the page's policy allows no inline code.
"""

from __future__ import annotations
