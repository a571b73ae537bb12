<?php

class Broken
{
    /** Whole. */
    public function one() { return 1; }

    /** Broken. */
    public function two() { return 1 + ; }

    /** Whole, too. */
    public function three() { return 3; }
}
