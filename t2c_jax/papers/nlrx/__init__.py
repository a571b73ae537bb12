"""NL-RX (Locascio et al. 2016): equality of regular expressions."""
