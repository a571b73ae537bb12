<?php

class Stubs
{
    /** Empty. */
    public function one() {}

    /** Only a comment. */
    public function two()
    {
        // nothing
    }

    /** Throws. */
    public function three() { throw new \RuntimeException('Not implemented yet.'); }

    /** Throws something else. */
    public function four() { throw new \RuntimeException('No file.'); }
}
