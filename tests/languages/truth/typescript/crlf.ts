/** Of the module.
 * @packageDocumentation
 */

/** Windows. */
export class Crlf {
	/**
	 * A method.
	 */
	@Log()
	method() {
		return `
		a`;
	}
}
