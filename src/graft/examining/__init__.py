"""What an example is before it is an input: whether it can be read, what is wrong with it, what it looks like."""
