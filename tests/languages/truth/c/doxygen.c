/**
 * @defgroup group A group
 * @{
 */

/**
 * @brief Adds in short.
 *
 * At length.
 *
 * \param[in] a first
 * \returns the sum
 */
int brief(int a) { return a; }

/** @name Members */
int after_name(int a) { return a; }

/** @} */
int after_end(int a) { return a; }

/**
 * \fn int other(int)
 *
 * Another one.
 */
int other(int a) { return a; }

/*******************************
 * Banner
 *******************************/
int banner(int a) { return a; }

/* ---------- Section ---------- */

/**/
int nothing(int a) { return a; }

/* clang-format off */
int directive(int a) { return a; }

// NOLINTNEXTLINE
int lint(int a) { return a; }

// Above a directive.
// NOLINTNEXTLINE
int above(int a) { return a; }
