"""The pretrained networks: what each is (`table`), where it can be cut (`cuts`), how it is built."""
