"""Deep API Learning (Gu et al. 2016): API call sequences and their ranking metrics."""
