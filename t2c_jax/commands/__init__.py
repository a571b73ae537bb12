"""What each command of ``t2c`` does."""
