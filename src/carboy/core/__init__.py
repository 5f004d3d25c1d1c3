"""Turn requests into responses: dispatch, routing, error handling, static files.

To read this package, begin with the module `dispatch`, which handles a request in a sequence of
steps. `fastpath` has the same sequence in one function, for apps in which no step is overridden;
`overrides` decides whether that function may be used.
"""
