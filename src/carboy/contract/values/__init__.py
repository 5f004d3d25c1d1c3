"""Kinds of value: types that JSON cannot express, one module per kind."""
