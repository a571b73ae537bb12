<?php

class Literals
{
    /** A heredoc. */
    public function heredoc(): string
    {
        return <<<EOT
            one
              two
            EOT;
    }

    /** A string of two lines. */
    public function lines(): string
    {
        return 'one
            two';
    }
}
