"""Conformance checks for plugin authors: run a part through its whole contract. Imports torch.

    from vqazoo.testing import check_head

    def test_my_head_keeps_the_contract():
        check_head("my-head")

A part that breaks its contract raises AssertionError, which names the part and what is wrong.
A part is given by its name as on the command line, by its class, or as an object that was built.
The manifest of a class or object is found where it is installed or offered with
`registry.register`; else pass it as `manifest=`.
"""

from vqazoo.testing.encoders import check_encoder
from vqazoo.testing.fusions import check_fusion
from vqazoo.testing.heads import check_head
from vqazoo.testing.metrics import check_metric
from vqazoo.testing.readers import check_reader
from vqazoo.testing.toy import TOY, ToyEncoder, toy_encoder

__all__ = [
    "TOY",
    "ToyEncoder",
    "check_encoder",
    "check_fusion",
    "check_head",
    "check_metric",
    "check_reader",
    "toy_encoder",
]
