"""Texts: what is wrong with one, and its shingles."""
