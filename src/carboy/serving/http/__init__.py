"""HTTP/1.1 over sockets: server, connections, parser, requests. Independent of the application."""
