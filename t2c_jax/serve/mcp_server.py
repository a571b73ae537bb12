"""A model's answers as tools of the Model Context Protocol, which agents and editors call (https://modelcontextprotocol.io).

The tools ask a server of ``t2c serve`` over HTTP, or the same application within this process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx2
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from t2c_jax.errors import UserError
from t2c_jax.version import __version__


@dataclass
class CodeCandidate:
    """One answer.

    Attributes:
      code: of it.
      log_probability: the model's own, summed over the tokens.
      finished: false where the answer was cut at the largest number of tokens.
      confidence: how likely it is right, where a reranker says so; of the first candidate alone.
      generated: share of the code that stands neither in the prompt nor in a retrieved example.
      from_prompt: share that stands in the prompt.
      from_examples: share that stands in a retrieved example.
    """

    code: str
    log_probability: float
    finished: bool
    confidence: float | None
    generated: float
    from_prompt: float
    from_examples: float


@dataclass
class RetrievedExample:
    """A training pair that the model read beside the prompt.

    Attributes:
      place: its repository, path and line; its id where they are not known.
      url: of its lines; empty where it is not known.
      text, code: of it.
      similarity: to the prompt.
    """

    place: str
    url: str
    text: str
    code: str
    similarity: float


@dataclass
class CodeAnswers:
    """The answers to a prompt.

    Attributes:
      model: that answered.
      language: of the code; empty if it is unknown.
      candidates: the best first.
      examples: what was retrieved for the prompt.
    """

    model: str
    language: str
    candidates: list[CodeCandidate]
    examples: list[RetrievedExample] = field(default_factory=list)


_Count = Annotated[int, Field(ge=1, le=16, description="candidates; several need a beam search or a temperature")]
_Temperature = Annotated[
    float | None,
    Field(ge=0, le=2, description="above 0 draws candidates; null searches as the model's config says"),
]
_Tokens = Annotated[
    int | None, Field(ge=1, description="tokens of a candidate at most; null for as many as there may be")
]


class CodeTools:
    """The tools of one model."""

    def __init__(self, client: httpx2.AsyncClient, card: Mapping[str, Any]) -> None:
        """Asks nothing yet.

        Args:
          client: of a server of ``t2c serve``.
          card: the model's in ``/v1/models``.
        """
        self._client, self._card = client, card

    def server(self) -> MCPServer[Any]:
        """A server that offers them."""
        made: MCPServer[Any] = MCPServer("t2c", version=__version__, log_level="WARNING")
        language = self._card["language"] or "code"
        made.add_tool(
            self.generate_code,
            description=f"Writes {language} for a description in plain words, with the model '{self._card['id']}'."
            " Descriptions like those that it was trained on get the best answers. Each candidate comes with its"
            " log-probability and with the shares of it that were copied.",
        )
        if self._card["fills_in_the_middle"]:
            made.add_tool(
                self.fill_in_the_middle,
                description=f"Writes the {language} between two parts of a file, with the model '{self._card['id']}'.",
            )
        return made

    async def generate_code(
        self,
        prompt: Annotated[str, Field(description="what the code is to do")],
        candidates: _Count = 1,
        temperature: _Temperature = None,
        max_tokens: _Tokens = None,
        grammar: Annotated[
            str | None,
            Field(description="what candidates follow: python, json, ..., 'regex:PATTERN' or 'lark:GRAMMAR'"),
        ] = None,
    ) -> CodeAnswers:
        """Code for a description."""
        asked = {"prompt": prompt, "n": candidates, "temperature": temperature, "max_tokens": max_tokens}
        return await self._ask({**asked, "grammar": grammar}, "/v1/completions")

    async def fill_in_the_middle(
        self,
        before: Annotated[str, Field(description="the code before the gap")],
        after: Annotated[str, Field(description="the code behind the gap")] = "",
        candidates: _Count = 1,
        temperature: _Temperature = None,
        max_tokens: _Tokens = None,
    ) -> CodeAnswers:
        """Code for a gap."""
        asked = {"prompt": before, "suffix": after, "n": candidates, "temperature": temperature}
        return await self._ask({**asked, "max_tokens": max_tokens}, "/v1/fim/completions")

    async def _ask(self, fields: dict[str, Any], path: str) -> CodeAnswers:
        body = {"model": self._card["id"], **{name: value for name, value in fields.items() if value is not None}}
        try:
            found = await request(self._client, "POST", path, body)
        except UserError as error:
            raise ToolError(str(error)) from None
        choices = found["choices"]
        return CodeAnswers(
            found["model"],
            self._card["language"],
            [_candidate(choice) for choice in choices],
            [_example(each) for each in choices[0].get("neighbours", [])],
        )


async def request(client: httpx2.AsyncClient, method: str, path: str, body: Any = None) -> Any:
    """The JSON that a server answers with.

    Raises:
      UserError: it does not answer, or refuses.
    """
    try:
        response = await client.request(method, path, json=body)
    except httpx2.HTTPError as error:
        raise UserError(f"no server answers at {client.base_url}: {error}") from None
    try:
        found = response.json()
    except ValueError:
        found = None
    if response.is_error or not isinstance(found, dict):
        said = found["error"]["message"] if isinstance(found, dict) and "error" in found else "no JSON"
        raise UserError(f"the server at {client.base_url} answered with status {response.status_code}: {said}")
    return found


async def card_of(client: httpx2.AsyncClient, name: str | None) -> Mapping[str, Any]:
    """What a server says of a model, the first one by default.

    Raises:
      UserError: the server does not answer, or has no such model.
    """
    cards = (await request(client, "GET", "/v1/models")).get("data", [])
    for card in cards:
        if name in (None, card["id"]):
            if "fills_in_the_middle" not in card:
                raise UserError(f"the server at {client.base_url} is none of t2c serve")
            found: Mapping[str, Any] = card
            return found
    raise UserError(f"the server at {client.base_url} has no model '{name}'; it has {[card['id'] for card in cards]}")


def _example(neighbour: Mapping[str, Any]) -> RetrievedExample:
    place, url = neighbour.get("place", neighbour["id"]), neighbour.get("url", "")
    return RetrievedExample(place, url, neighbour["text"], neighbour["code"], neighbour["similarity"])


def _candidate(choice: Mapping[str, Any]) -> CodeCandidate:
    shares = choice["provenance"]
    return CodeCandidate(
        code=choice["text"] if "text" in choice else choice["message"]["content"],
        log_probability=choice["log_probability"],
        finished=choice["finish_reason"] == "stop",
        confidence=choice.get("confidence"),
        generated=shares["generated"],
        from_prompt=shares["prompt"],
        from_examples=shares["neighbours"],
    )
