"""Images: decoding, augmented views, and what is wrong with a file."""
