"""The threads of a server: which thread runs the event loop, and how many views run at once."""
