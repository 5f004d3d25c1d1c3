"""Predictions wait here, in batches, until a thread computes them."""
