"""Images: decoding and augmented views."""
