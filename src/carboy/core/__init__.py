"""How a request becomes a response: dispatch, routing, error handling, static files.

Start with `dispatch`. `fastpath` is the same sequence in one function, for requests that need none
of the steps that a user may override; `overrides` decides whether it may be used.
"""
