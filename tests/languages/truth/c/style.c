/*
** SQLite's style,
** with two stars.
*/
int sqlite(int a){ return a; }

/*
 * BSD's style.
 */
int
bsd(a)
	int a;
{
	return (a);
}

/*
 * function: gnu
 * -------------
 * Underlined.
 */
int gnu (int a) { return a; }

//----------------------------
// Ruled off.
//----------------------------
int ruled(int a) { return a; }
