<?php
/**
 * Windows.
 */
class Crlf
{
    /**
     * One.
     * Two.
     */
    public function m()
    {
        return 1;
    }
}
