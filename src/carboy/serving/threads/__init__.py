"""The threads of a server: which thread reads requests, and how many views run at once."""
