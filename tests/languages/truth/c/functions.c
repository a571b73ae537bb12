/*
 * Copyright of somebody.
 */

/** @file functions.c
 * What the file is.
 */

#include <stdio.h>
/* Right below an include. */
int below(void) { return 1; }

/**
 * Adds two numbers.
 *
 * @param a first
 * @return the sum
 */
static inline int add(int a, int b)
{
  return a + b; /* trailing */
}

// One line
// and another.
char *pointer(const char *s) { return (char *) s; }

/* A pointer to a pointer. */
struct node **nodes(struct node *n[], int (*compare)(const void *, const void *)) { return 0; }

/* Returns a function. */
int (*chosen(int i))(int) { return 0; }

/* Detached. */

int detached(void) { return 1; }

int counter; /* of counter */
int trailing(void) { return 1; }

/// Triple.
int triple(void) { return 1; }

//! Qt style.
int qt(void) { return 1; }

/*! Qt block. */
int qt_block(void) { return 1; }

/** First. */
/** Second. */
int second(void) { return 1; }

/* Old style. */
int old(a, b)
  int a;
  char b;
{
  return a;
}

/* Empty. */
void empty(void) {}

/* Declared. */
extern int declared(int x);

/* A pointer. */
int (*variable)(int) = 0;

/* Of several lines
   without stars. */
unsigned long long lines(void) { return 1; }
