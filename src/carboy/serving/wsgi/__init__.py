"""An exchange calls a WSGI application."""
