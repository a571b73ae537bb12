/**
 * Finds things in `list`, see {@link other}.
 *
 * More about it.
 *
 * @example
 * find([1], 1)
 *
 * @param {Array<string>} list - where to look
 * @param {Object} [options]
 * @return {?string}
 */
function find(list, options) { return list[0]; }

/** @inheritdoc */
function inherited() { return 1; }

/** @private */
function hidden() { return 1; }

/**
 * @description Described by a tag.
 */
function described() { return 1; }
