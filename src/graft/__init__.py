"""graft: give a pretrained network a new head, fit it to your images, get the same numbers twice."""

__version__ = "0.1.0"
