"""HTTP/1.1 on sockets: connections, parser, exchanges. Knows no application."""
