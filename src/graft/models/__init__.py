"""Heads, what a head and a backbone make together, and how models are written."""
