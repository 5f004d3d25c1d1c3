"""A request becomes a response: dispatch, routing, error handling, static files."""
