"""Texts: their bytes, what is wrong with them, and how they become tokens."""
