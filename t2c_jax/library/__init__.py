"""What ``import t2c_jax`` offers to notebooks and services, and the stages of a run, which the commands share."""
