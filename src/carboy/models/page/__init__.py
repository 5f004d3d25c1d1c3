"""The page on which people try a model. Browsers get it at the model's own URL.

`rendering` makes the HTML from the model's description, `endpoints` adds the URLs, and `files`
loads the folder `assets`: style sheets, and scripts that build a form from the model's types. There
is no build step, nothing is loaded from other hosts, and the Content-Security-Policy allows no
inline scripts.
"""

from __future__ import annotations
