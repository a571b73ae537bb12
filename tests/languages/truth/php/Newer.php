<?php

readonly class Newer
{
    /** Promoted. */
    public function __construct(public string $name { get => ucfirst($this->name); }, final int $x = 1) { echo 1; }

    /** Matches. */
    public function match(int|string $x): never
    {
        echo match (true) { is_int($x) => 1, default => 2 };
        exit;
    }

    /** First class callables. */
    public function call(): Closure { return strlen(...); }

    /** By reference. */
    public function &ref(array &$list): array { return $list; }
}
