#ifndef TYPES_H
#define TYPES_H

/** A point. */
struct point {
  int x; /**< its x */
  int y; ///< its y
};

/** A typedef. */
typedef struct {
  int a;
} anonymous;

/** Named twice. */
typedef struct named_s { int a; } named_t;

/** Colours. */
enum colour {
  RED, /*!< red */
  GREEN
};

/** Either. */
typedef union either { int i; float f; } either;

/** Only declared. */
struct forward;

/** A type of functions. */
typedef int (*callback)(void *data);

#ifdef FEATURE
/** In a condition. */
static inline int conditional(void) { return 1; }
#else
/** Otherwise. */
static inline int otherwise(void) { return 0; }
#endif

/** A macro. */
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/** Declared here. */
int declared(struct point *p);

#ifdef __cplusplus
extern "C" {
#endif
/** For C++, too. */
int linked(void);
#ifdef __cplusplus
}
#endif
#endif
