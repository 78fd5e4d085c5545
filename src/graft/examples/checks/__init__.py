"""What is wrong with images: what each file is, which are copies, and when that is too much."""
