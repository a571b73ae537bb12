"""What is known of each programming language: extractors, identifiers, parsing."""
