"""What a run reports: metrics, throughput, goodput, profiles."""
