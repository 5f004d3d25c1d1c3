"""One file per peer of bench/models.py; `work` holds what all of them compute."""
