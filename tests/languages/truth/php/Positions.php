<?php

/** Far away. */

function far() { return 1; }

/** Of the constant. */
const X = 1;
function after() { return 2; }

// An ordinary comment.
function plain() { return 3; }

# A hash.
function hash_comment() { return 4; }

/* No documentation. */
function block() { return 5; }

/**
 * The first is of something else.
 */

/**
 * The second.
 */
function second() { return 6; }

/** With a comment below. */
// Why.
function below() { return 7; }

$x = 1; /** Behind code. */
function behind() { return 8; }
