"""Turn requests into responses: dispatch, routing, error handling, static files.

Start with `dispatch`. `fastpath` has the same sequence in one function, for apps in which no step
is overridden; `overrides` decides whether that function may be used.
"""
