"""Checkpoint folders, as whoever needs a model reads them."""
