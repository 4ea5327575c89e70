"""The model's name changes, and not one other byte."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.gateway.splice import with_model

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["model", "m", '"model":"m"']),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["model", "a", 'x"']), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "é"]), JSON), st.text(min_size=1), st.text(min_size=1), st.data())
def test_only_the_top_level_model_changes(rest: dict[str, Any], old: str, new: str, data: st.DataObject) -> None:
    comma, colon = data.draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]))
    ascii_only = data.draw(st.booleans())
    place = data.draw(st.integers(0, len(rest)))

    def written(model: bytes) -> bytes:
        said = [(json.dumps(k) + colon + json.dumps(v, ensure_ascii=ascii_only)).encode() for k, v in rest.items()]
        said.insert(place, b'"model"' + colon.encode() + model)
        return b"{" + comma.encode().join(said) + b"}"

    body = written(json.dumps(old, ensure_ascii=ascii_only).encode())
    expected = body if old == new else written(msgspec.json.encode(new))
    assert with_model(body, old, new) == expected


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b'{"model":"a","x":1}', b'{"model":"bb","x":1}'),
        (b'{ "x" : {"model" : "a"}, "model" :  "a" }', b'{ "x" : {"model" : "a"}, "model" :  "bb" }'),
        (b'{"x":[{"model":"a"}],"y":"\\"m","model":"a"}', b'{"x":[{"model":"a"}],"y":"\\"m","model":"bb"}'),
        (b'{"mod\\u0065l":"\\u0061"}', b'{"mod\\u0065l":"bb"}'),
        (b'{"model":"x","model":"a"}', b'{"model":"bb"}'),
        (b'{"model":"a","x":1,"model":"a"}', b'{"model":"bb","x":1}'),
    ],
)  # fmt: skip
def test_wherever_it_stands(body: bytes, changed: bytes) -> None:
    assert with_model(body, "a", "bb") == changed


def test_a_body_of_megabytes_is_not_scanned() -> None:
    """With the name escaped as some encoders do, and another mention before it: still only keys are looked at."""
    body = b'{"metadata":{"model":"a/b"},"messages":["' + b"x" * 8_000_000 + b'"],"model":"a\\/b"}'
    assert with_model(body, "a/b", "c") == body.replace(b'"a\\/b"', b'"c"')
