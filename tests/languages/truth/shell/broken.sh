# Whole.
one() { echo 1; }

# Broken.
two() { x=${ echo 1; }; }

# Whole, too.
three() { echo 3; }
