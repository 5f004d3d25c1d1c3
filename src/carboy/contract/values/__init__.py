"""Kinds of value that JSON has no type for: one module per kind."""
