// Copyright of somebody.

//go:build linux && !cgo
// +build linux

// Package build has constraints.
package build

/*
#include <stdio.h>
int f(void) { return 1; }
*/
import "C"

// Call calls it.
//export Call
func Call() int { return int(C.f()) }

//line other.go:10
func line() { Call() }
