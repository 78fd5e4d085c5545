"""What the examples are: where they come from, which are used, how they are split and decoded."""
