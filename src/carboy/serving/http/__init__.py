"""An HTTP/1.1 server on sockets, which does not depend on the application that answers.

    server        runs the event loop
    acceptor      listens on all addresses, and accepts clients while there is room
    connection    reads requests and writes their responses, in order
    transitions   the states of a connection, as a table                     no I/O
    parser        finds heads and bodies in what a client sends              no I/O
    exchange      one request, and the response to it with its head
    interfaces    what these parts use of each other, of the threads, the log and the metrics
    limits        sizes and timeouts, and the error responses for them
    poller        waits until sockets are ready
    listener      one address to listen on; `address` reads its text
    environ       the WSGI environ of a request
    forwarded     headers of trusted proxies
    sendfile      bodies that are files
    handshake     the TLS handshake of a connection; `tlssocket` reads and writes after it
    upgrade       requests for WebSockets; `websocket` is their socket
    budget        memory that all connections share

The module `server` passes each request to a `Handler`: to the `Gateway` of `carboy.serving.wsgi`.
"""
