"""The same six requests, handled by each peer. `shapes` defines requests and expected responses."""
