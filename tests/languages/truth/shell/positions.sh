#!/bin/sh
# Directly below the first line.
first() { echo 1; }

# Far away.

far() { echo 2; }

# Of the variable.
X=1
after() { echo 3; }

x=1 # Behind code.
behind() { echo 4; }

# Above a directive.
# shellcheck disable=SC2034
directive() { echo 5; }

#######################
# In a box.
#######################
box() { echo 6; }

# One paragraph.
#
# Another one.
paragraphs() { echo 7; }
