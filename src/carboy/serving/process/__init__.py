"""The supervisor process, the worker processes that it starts, and the command `carboy serve`."""
