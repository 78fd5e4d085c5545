"""A model in use, by its card alone: what callers have goes in, labels and probabilities come out."""
