"""Python: pairs from source files, identifiers, definitions."""
