"""Call a WSGI application for the requests of an HTTP server.

gateway    decides on which thread the application runs, and calls it
driver     calls it by the rules of PEP 3333
body       the request body as a file: `wsgi.input`
viewwatch  limits the time of views
proxyfix   recognises Werkzeug's `ProxyFix` in the application
"""
