"""The same six requests, answered by each peer. `shapes` says what they are and what is right."""
