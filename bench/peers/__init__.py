"""One file per peer of bench/models.py; `work` contains the computation that all share."""
