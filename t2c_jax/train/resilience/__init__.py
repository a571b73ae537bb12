"""What keeps a run alive: loss spikes, hangs, signals."""
