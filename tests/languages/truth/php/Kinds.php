<?php

namespace A;

/** A class. */
abstract class Kinds extends Base implements Thing
{
    use Helps;

    /** A property is no pair. */
    public int $size = 1;

    /** A constant neither. */
    const NAME = 'x';

    /** Makes one. */
    public function __construct(private readonly int $x, protected ?string $y = null)
    {
        parent::__construct();
    }

    /** Static. */
    final public static function create(int ...$all): static { return new static(...$all); }

    /** Abstract. */
    abstract protected function area(): float;

    function undocumented() { return 1; }
}

/** An interface. */
interface Thing
{
    /** Without a body. */
    public function name(): string;
}

/** A trait. */
trait Helps
{
    /** Helps. */
    protected function help(): void { echo 'help'; }
}

/** An enumeration. */
enum Suit: string
{
    case Hearts = 'H';

    /** Its colour. */
    public function color(): string { return 'red'; }
}

/** A function. */
function add(int $a, int $b = 1): int
{
    return $a + $b;
}

/** Nothing in it. */
final class NotFound extends \Exception {}
