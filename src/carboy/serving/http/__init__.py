"""An HTTP/1.1 server on sockets, which does not depend on the application that answers."""
