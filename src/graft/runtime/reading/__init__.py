"""How files are read that may lie elsewhere: at addresses, tried again, seen to change, beside other work."""
