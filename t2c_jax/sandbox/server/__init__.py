"""The process inside the sandbox: it starts once and forks for each program.

It is a fresh interpreter, started by exec and not by fork, because the parent may run threads of JAX. It imports the
standard library and this directory only. ``boot.py`` has the command that starts it without ``t2c_jax/__init__.py``.
"""
