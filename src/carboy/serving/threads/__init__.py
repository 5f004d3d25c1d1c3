"""The threads of a server: which one reads requests, and how many views run at once."""
