"""Types are the contract: what the annotations of a view say, read once and compiled.

    gate       does this view need any of it? The only module that an untyped app loads
    markers    what an author writes beside a type: Query(), Header(), ..., @raises
    shape      the contract as data
    reading    signature -> contract
    binding    contract -> the function that stands in `app.view_functions`
    answers    what a view returns -> bytes
    refusing   what did not fit -> problem details

msgspec comes with the first typed view, Pillow with the first picture.
"""

from __future__ import annotations
