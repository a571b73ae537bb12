"""Files of pairs: their formats, the names of their columns, and their splits."""
