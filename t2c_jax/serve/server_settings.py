"""What the administrator of a server decides."""

from __future__ import annotations

from dataclasses import dataclass

from t2c_jax.serve.api_keys import ApiKeys

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class ServerSettings:
    """How requests are received.

    Attributes:
      keys: who may ask; None for everybody who can connect.
      hosts: names in the header ``Host`` that are answered; empty for any. A page elsewhere that gives this server a
        name of its own (DNS rebinding) is refused by it.
      origins: pages of other sites that may ask (CORS); none by default.
      largest_body: bytes of a request.
      deadline: seconds for an answer, the wait in the queue included.
      ignores_system: leave system messages out of prompts, for editors that always send long ones.
    """

    keys: ApiKeys | None = None
    hosts: tuple[str, ...] = LOCAL_NAMES
    origins: tuple[str, ...] = ()
    largest_body: int = 1 << 20
    deadline: float = 120.0
    ignores_system: bool = False
