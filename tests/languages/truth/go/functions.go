// Package functions is not a function's.
package functions

import "fmt"

// Add adds two numbers.
//
// It cannot overflow.
func Add(a, b int) (sum int, err error) {
	return a + b, nil
}

// Detached from it.

func detached() { fmt.Println() }

//go:noinline
func directive() { fmt.Println() }

// Inlined is documented above a directive.
//
//go:noinline
//nolint:all
func Inlined() { fmt.Println() }

/*
Block is documented by a block.
*/
func Block[K comparable, V any](m map[K]V, opts ...Option) <-chan V { return nil }

var a = 1 // of a
func afterTrailing() { fmt.Println() }

// Deprecated: use Add.
func Old() { fmt.Println() }

//no space before it
func noSpace() { fmt.Println() }

// Empty does nothing.
func Empty() {}

// Asm is written elsewhere.
func Asm(x int) int

// Todo is not there yet.
func Todo() { panic("not implemented") }

// First group.

// Second is the group that counts.
func Second() { f := func() { fmt.Println() }; f() }
