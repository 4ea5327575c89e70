"""What a route may ask of a request."""

import json
from typing import Any

import pytest

from recloser.gateway.conditions import condition_kinds
from recloser.gateway.request import Request
from recloser.gateway.wires import WIRES
from recloser.gateway.wires.wire import BadRequestError

PNG = "iVBORw0KGgo="


def anthropic(*content: Any, **fields: Any) -> Request:
    said = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": list(content)}], **fields}
    return asked("anthropic", said)


def chat(*content: Any, **fields: Any) -> Request:
    return asked("openai-chat", {"model": "m", "messages": [{"role": "user", "content": list(content)}], **fields})


def asked(wire: str, said: Any, address: tuple[str, bool] = ("", False)) -> Request:
    body = json.dumps(said).encode()
    envelope = WIRES[wire].read(body, address[0], stream=address[1])
    return Request(id="r", wire=WIRES[wire], envelope=envelope, body=body, targets=())


def holds(name: str, value: Any, request: Request) -> bool:
    return condition_kinds().found[name](value).holds(request)


TEXT = {"type": "text", "text": "hello"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
IN_A_RESULT = {"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}
FILE = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
TOOL = {"name": "f", "input_schema": {"type": "object"}}


def test_every_condition_has_a_file_and_none_is_broken() -> None:
    kinds = condition_kinds()
    assert set(kinds.found) >= {"has_document", "has_image", "has_tools", "model_matches", "tokens_over"}
    assert kinds.broken == {}


@pytest.mark.parametrize(
    ("request_", "there"),
    [
        (anthropic(TEXT), False),
        (anthropic(TEXT, IMAGE), True),
        (anthropic(IN_A_RESULT), True),
        (anthropic(FILE), False),
        (chat({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}), True),
        (chat({"type": "text", "text": "an image"}), False),
        (
            asked(
                "openai-responses",
                {
                    "model": "m",
                    "input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://h/x.png"}]}],
                },
            ),
            True,
        ),
        (
            asked(
                "gemini",
                {"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}]},
                ("m", False),
            ),
            True,
        ),
    ],
)
def test_a_picture_on_every_wire(request_: Request, there: bool) -> None:
    assert holds("has_image", True, request_) is there
    assert holds("has_image", False, request_) is not there


def test_a_file() -> None:
    assert holds("has_document", True, anthropic(TEXT, FILE))
    assert not holds("has_document", True, anthropic(TEXT, IMAGE))


def test_tools() -> None:
    assert holds("has_tools", True, anthropic(TEXT, tools=[TOOL]))
    assert not holds("has_tools", True, anthropic(TEXT))
    assert holds("has_tools", False, anthropic(TEXT))


def test_a_large_request() -> None:
    long = anthropic({"type": "text", "text": "word " * 7000})  # about 10,000 tokens
    assert holds("tokens_over", 9_000, long)
    assert not holds("tokens_over", 11_000, long)
    assert holds("tokens_over", 1_500, anthropic(IMAGE))  # a picture is large, however short it is said


def test_a_small_request_is_not_even_read() -> None:
    request = chat("no content that anybody could read")
    assert not holds("tokens_over", 1_000, request)
    with pytest.raises(BadRequestError):
        holds("tokens_over", 1, request)


def test_a_model_s_name() -> None:
    assert holds("model_matches", "^(m|n)$", chat(TEXT))
    assert not holds("model_matches", "^M$", chat(TEXT))


@pytest.mark.parametrize(
    ("name", "value"),
    [("has_image", 1), ("has_tools", "yes"), ("tokens_over", True), ("tokens_over", -1), ("tokens_over", 1.5),
     ("model_matches", ""), ("model_matches", ["a"])],
)  # fmt: skip
def test_a_value_that_means_nothing(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        condition_kinds().found[name](value)
