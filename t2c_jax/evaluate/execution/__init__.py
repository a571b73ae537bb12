"""Answers are run in the sandbox, on the tests of their pair or beside its reference.

``runners`` says for each language what program an answer is and what its outcome means. ``executor`` checks the
problems, calibrates their limits on the reference and runs the answers. ``execution_report`` shows what came of it. The
metrics over it are ``metrics.pass_at_k`` and ``metrics.execution_match``.
"""
