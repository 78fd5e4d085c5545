"""Images: what is wrong with a file, its perceptual hash, and the limits of what is decoded at all."""
