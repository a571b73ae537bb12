;(function (root, factory) {
  root.lib = factory();
}(this, function () {
  /**
   * In a module.
   */
  function inside(a) {
      return a;
  }
  /** Chained. */
  var a = exports.a = function () { return 1; };
  return { inside: inside };
}));
