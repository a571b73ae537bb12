<?php

if (!function_exists('helper')) {
    /**
     * Helps.
     */
    function helper()
    {
        /** Within a function. */
        function inner() { return 1; }
        return inner();
    }
}

$object = new class {
    /** Of an anonymous class. */
    public function run() { return 2; }
};

namespace\Other::call();
