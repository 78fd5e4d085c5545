"""How good a model is: metrics, per-image predictions, plots. Plain values in, plain values out."""
