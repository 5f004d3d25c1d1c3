"""Call a WSGI application for the requests of an HTTP server."""
