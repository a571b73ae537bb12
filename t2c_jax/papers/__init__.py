"""What single papers alone need; each subpackage registers its own parts."""
