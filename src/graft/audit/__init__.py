"""What the cached features say of the labels: which look wrong, which images stand alone, which are nearly the same."""
