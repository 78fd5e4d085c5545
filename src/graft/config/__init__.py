"""params.yaml: its schema, its reader, and what its values say together."""
