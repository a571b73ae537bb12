"""Models behind an HTTP interface that clients of OpenAI's speak: ``t2c serve``."""
