<?php

/**
 * Gets the {@see Foo} for a <b>key</b>.
 *
 * More of it.
 *
 * @param array<int, string>|null $items The items
 * @return string the value
 */
function get(?array $items): string { return 'x'; }

/** {@inheritdoc} */
function inherited() { return 1; }

/**
 * @return int The size
 */
function size(): int { return 2; }

/** @var int */
function typed() { return 3; }
