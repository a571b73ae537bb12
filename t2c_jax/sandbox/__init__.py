"""Where code that a model wrote may run.

``pool.Sandbox`` runs programs (``outcomes.Program``) and returns what came of them (``outcomes.Outcome``).
``languages`` has a class for each language. ``server`` is the process inside the sandbox. Nothing here imports JAX.
"""
