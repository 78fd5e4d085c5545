"""Heads that are solved rather than trained: a convex problem has one solution, whatever the seed or learning rate."""
