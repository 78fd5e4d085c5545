"""Texts: their bytes, and how they become tokens."""
