"""What a developer declares by hand: misspelt words are errors that name the right ones."""

from pathlib import Path

import pytest

from pinnace_contract.latest import P95, Datatype, Expectations, Normalize, Processing, Scale, Softmax
from pinnace_converters import declaration
from pinnace_converters.errors import DeclarationInvalid


def test_a_declaration_is_read_into_the_contracts_words() -> None:
    found = declaration.parse(
        b"""{
          "before": [{"op": "scale", "tensor": "x", "factor": 0.5},
                     {"op": "normalize", "tensor": "x", "axis": 1, "mean": [0.5], "std": [0.25]}],
          "after": [{"op": "softmax", "tensor": "y"}],
          "outputs": [{"name": "y", "classes": ["cat", "dog"], "datatype": "FP32"}],
          "expectations": {"error_rate_max": 0.01, "p95": [{"hardware": "*", "p95_ms": 20}]}
        }"""
    )

    assert found.processing == Processing(
        before=(Scale(tensor="x", factor=0.5), Normalize(tensor="x", axis=1, mean=(0.5,), std=(0.25,))),
        after=(Softmax(tensor="y"),),
    )
    assert (found.outputs[0].classes, found.outputs[0].datatype) == (("cat", "dog"), Datatype.FP32)
    assert found.expectations == Expectations(error_rate_max=0.01, p95=(P95(hardware="*", p95_ms=20),))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"{", "not JSON"),
        (b"[]", "an object"),
        (b'{"befor": []}', "unknown key 'befor'; expected after, before"),
        (b'{"before": [{"op": "blur", "tensor": "x"}]}', "unknown step 'blur'; the steps are argmax, cast, clip"),
        (b'{"before": [{"tensor": "x"}]}', 'an object with "op"'),
        (b'{"before": [{"op": "scale", "tensor": "x"}]}', r"before\[0\].factor: expected a value"),
        (b'{"before": [{"op": "scale", "tensor": "x", "factor": 1, "ofset": 2}]}', "unknown key 'ofset'"),
        (b'{"outputs": [{"name": "y", "class": []}]}', r"outputs\[0\]: unknown key 'class'"),
        (b'{"expectations": {"error_rate": 1}}', "unknown key 'error_rate'"),
        (b'{"expectations": {"error_rate_max": 2}}', "from 0 to 1"),
    ],
)
def test_what_is_not_in_form_is_named(text: bytes, says: str) -> None:
    with pytest.raises(DeclarationInvalid, match=says):
        declaration.parse(text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeclarationInvalid, match=r"cannot read .*gone\.json"):
        declaration.read(tmp_path / "gone.json")
