"""The supervisor, its workers, and the `serve` command."""
