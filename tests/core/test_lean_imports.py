"""Loading a model does not import torch's compiler, and whoever asks for it afterwards has it."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PathDistribution

import pytest
import torch

import vqazoo
from vqazoo.errors import VqazooError
from vqazoo.lean_imports import PLAIN
from vqazoo.registry import KINDS, Registry, registry

THEN = """
compiler = sys.modules.get("torch._dynamo")
assert compiler is None, compiler
assert not [name for name in sys.modules if name.startswith("torch._dynamo")]
"""
CASES = {
    "timm": "import timm" + THEN + "from timm.models.naflexvit import batch_patchify",
    "torchvision": "import torchvision"
    + THEN
    + "from torchvision.ops.roi_align import is_compile_supported\n"
    + "assert is_compile_supported('cpu') in (True, False)\n"
    + "assert 'torch._dynamo' in sys.modules",
    "transformers": "from transformers import BertModel, BertConfig"
    + THEN
    + "config = BertConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1)\n"
    + "BertModel(config)(torch.tensor([[1, 2]]))",
    "sharded training and its checkpoints": "from transformers import BertModel\n"
    + "BertModel.__mro__\n"
    + "assert not {'torch.distributed.fsdp', 'torch.distributed.checkpoint'} & sys.modules.keys()\n"
    + "from transformers.distributed.fsdp import MixedPrecisionPolicy as named, fully_shard\n"
    + "assert not isinstance(1, named) and not issubclass(int, named)\n"
    + "assert 'torch.distributed.fsdp' not in sys.modules\n"
    + "policy = torch.distributed.fsdp.MixedPrecisionPolicy()\n"
    + "assert sys.modules['torch.distributed.fsdp'].__file__\n"
    + "assert isinstance(policy, named) and issubclass(type(policy), named)\n"
    + "assert isinstance(named(), type(policy)) and isinstance(policy, named | None)\n"
    + "assert torch.distributed.checkpoint.save\n"
    + "try: fully_shard(1)\n"
    + "except TypeError as error: assert 'int' in str(error)\n"
    + "else: assert False",
    "symbolic shapes": "from transformers import BertModel, BertConfig\n"
    + "BertModel.__mro__\n"
    + "import torch.nn.attention.flex_attention as flex\n"
    + "assert 'sympy' not in sys.modules\n"
    + "parts = [m for n, m in sys.modules.items() if n.startswith('torch.distributed.tensor')]\n"
    + "taken = {n for m in parts for n, v in vars(m).items() if type(v).__name__ == '_Named'}\n"
    + "assert {'guard_or_false', 'statically_known_true'} <= taken, taken\n"
    + "from torch.fx.experimental import symbolic_shapes as early\n"
    + "import torch.fx.experimental.symbolic_shapes as real\n"
    + "assert real.ShapeEnv and sys.modules[real.__name__].__file__\n"
    + "assert early is real is sys.modules[real.__name__]\n"
    + "for module in (flex, *parts):\n"
    + "    for name, value in vars(module).items():\n"
    + "        assert getattr(real, name, None) is value or name not in taken, name\n"
    + "from torch.distributed.tensor import _decompositions as caught\n"
    + "assert caught.GuardOnDataDependentSymNode is real.GuardOnDataDependentSymNode\n"
    + "assert flex.has_free_unbacked_symbols is real.has_free_unbacked_symbols",
    "other threads import meanwhile": "from transformers import BertModel\n"
    + "BertModel.__mro__\n"
    + "class Looked:\n"
    + "    @property\n"
    + "    def __class__(self):\n"
    + "        sys.modules.setdefault(f'another{len(sys.modules)}', sys)\n"
    + "        return object\n"
    + "sys.modules['looked'] = Looked()\n"
    + "import torch.fx.experimental.symbolic_shapes as real\n"
    + "import torch.nn.attention.flex_attention as flex\n"
    + "assert flex.has_free_unbacked_symbols is real.has_free_unbacked_symbols",
    "whoever needs scipy's optimiser": "from transformers import BertModel\n"
    + "assert 'scipy.optimize' not in sys.modules\n"
    + "from transformers.loss.loss_for_object_detection import linear_sum_assignment\n"
    + "rows, columns = linear_sum_assignment([[4, 1], [2, 3]])\n"
    + "assert columns.tolist() == [1, 0]",
    "what a function says of itself": "from transformers import BertModel\n"
    + "from transformers.loss.loss_for_object_detection import linear_sum_assignment as early\n"
    + "import transformers.distributed.fsdp as sharding\n"
    + "assert (early.__name__, early.__qualname__) == ('linear_sum_assignment',) * 2\n"
    + "assert not {'scipy.optimize', 'torch.distributed.fsdp'} & sys.modules.keys()\n"
    + "import copy, inspect, pickle\n"
    + "shard, policy = sharding.fully_shard, sharding.MixedPrecisionPolicy\n"
    + "named = inspect.signature(shard), inspect.signature(policy)\n"
    + "copies = pickle.loads(pickle.dumps(policy)), copy.deepcopy(shard)\n"
    + "from torch.distributed import fsdp as real\n"
    + "there = real.fully_shard, real.MixedPrecisionPolicy\n"
    + "assert named == tuple(map(inspect.signature, there))\n"
    + "assert copies == there[::-1]\n"
    + "from unittest import mock\n"
    + "with mock.patch.object(policy, 'mark', 1, create=True):\n"
    + "    assert real.MixedPrecisionPolicy.mark == 1\n"
    + "assert not hasattr(real.MixedPrecisionPolicy, 'mark')",
    "a part of what is stood in for": "import scipy.optimize._minimize as part\n"
    + "import scipy.optimize\n"
    + "assert scipy.optimize.minimize is part.minimize\n"
    + "assert part.__spec__.origin == part.__file__\n"
    + "assert scipy.optimize.__file__",
    "torchvision's models": "import timm\n"
    + "assert not {'torchvision.models', 'torchvision.datasets'} & sys.modules.keys()\n"
    + "import torchvision\n"
    + "from timm.models._features_fx import create_feature_extractor, FeatureGraphNet\n"
    + "assert torchvision.models.resnet18(num_classes=2).fc.out_features == 2\n"
    + "net = FeatureGraphNet(timm.create_model('resnet10t'), out_indices=(0,), out_map=['conv1'])\n"
    + "assert net(torch.zeros(1, 3, 32, 32))[0].shape == (1, 64, 16, 16)\n"
    + "from torchvision.models import *\n"
    + "assert resnet18 is torchvision.models.resnet18",
    "torchvision's datasets": "import timm\n"
    + "import tempfile, timm.data.dataset_factory as factory\n"
    + "asked = factory._TORCH_BASIC_DS['cifar10']\n"
    + "try:\n"
    + "    asked(tempfile.mkdtemp())\n"
    + "except RuntimeError as error:\n"
    + "    assert 'not found' in str(error)\n"
    + "import torchvision\n"
    + "assert factory.ImageFolder is torchvision.datasets.ImageFolder\n"
    + "class Own(torchvision.datasets.ImageFolder):\n"
    + "    pass\n"
    + "assert issubclass(Own, factory.ImageFolder)",
    "a library that needs it": "from scipy import stats\nassert stats.norm.cdf(0) == 0.5",
    "who needs it has it": "import torch._dynamo\n"
    + "assert torch._dynamo.config.cache_size_limit\n"
    + "assert sys.modules['torch._dynamo'].__file__",
    "a part of it": "from torch._dynamo.utils import counters\n"
    + "assert sys.modules['torch._dynamo.utils'].counters is counters",
}


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=name, marks=() if name == "timm" else pytest.mark.proof)
        for name, code in CASES.items()
    ],
)
def test_libraries_come_without_the_compiler_but_not_without_its_use(code):
    first, *rest = code.split("\n", 1)
    run(
        "import sys, torch\nfrom vqazoo.lean_imports import without_unused\n"
        f"with without_unused():\n    {first}\n" + "\n".join(rest)
    )


@pytest.mark.filterwarnings("ignore:guard_size_oblivious")
@pytest.mark.parametrize("name", sorted(PLAIN))
def test_functions_of_symbols_give_the_same_for_plain_numbers(name: str) -> None:
    from torch.fx.experimental import symbolic_shapes

    real, two = getattr(symbolic_shapes, name, None), name == "sym_eq"
    if real is None:
        pytest.skip(f"this torch has no {name}")
    values = [True, False, 0, 1, 2.5, "a", (1, 2), [1, 2], (1,), torch.Size([1, 2]), ((1,), 2)]
    several = name in ("sym_and", "sym_or")
    told = 0
    for args in itertools.product(values, repeat=2 if two or several else 1):
        given = PLAIN[name](*args)
        if given is not NotImplemented:
            told += 1
            expected = real(*args)
            assert type(given) is type(expected), args
            assert given == expected, args
    assert told >= 2


@pytest.mark.proof  # the compiler takes seconds
def test_changing_shapes_are_compiled_after_models_were_loaded_as_before() -> None:
    run(
        """
import sys, torch, vqazoo
vqazoo.load("effnet-minilm-mlp-daquar")
assert "sympy" not in sys.modules
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
compiled = torch.compile(
    lambda x: torch.cat([x, x]).sum(0), backend="eager", dynamic=True, fullgraph=True
)
for length in (2, 3, 5):
    assert torch.equal(compiled(torch.ones(length, 4)), torch.full((4,), 2.0 * length))
exported = torch.export.export(
    torch.nn.Linear(4, 2), (torch.ones(3, 4),), dynamic_shapes={"input": {0: torch.export.Dim("n")}}
)
assert exported.module()(torch.ones(7, 4)).shape == (7, 2)
attend = torch.compile(flex_attention, backend="eager", fullgraph=True)
attend(*[torch.ones(1, 1, 16, 8)] * 3)
assert "sympy" in sys.modules
"""
    )


@pytest.mark.proof  # the compiler takes seconds
def test_a_marked_function_is_left_alone_when_something_compiles():
    run(
        """
import torch
from vqazoo.lean_imports import without_unused
with without_unused():
    @torch.compiler.disable
    def left(x):
        assert not torch.compiler.is_compiling()
        return x + 1
assert left(1) == 2
graphs = []
def backend(graph, inputs):
    graphs.append(graph)
    return graph.forward
compiled = torch.compile(lambda x: left(x * 2) * 3, backend=backend)
assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 9.0))
assert len(graphs) == 2  # before and after what is left alone
"""
    )


def test_a_model_is_built_without_collections_and_they_are_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    build = registry.build
    monkeypatch.setattr(
        registry, "build", lambda *a, **k: (seen.append(gc.isenabled()), build(*a, **k))[1]
    )
    for on in (True, False):
        (gc.enable if on else gc.disable)()
        try:
            vqazoo.load("tiny-clip-linear-easyvqa")
            with pytest.raises(VqazooError):
                vqazoo.load("no-such-model")
            assert gc.isenabled() is on
        finally:
            gc.enable()
    assert seen
    assert not any(seen)


def test_threads_that_load_at_once_leave_collections_on() -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(vqazoo.load, ["tiny-clip-linear-easyvqa"] * 16))
    assert gc.isenabled()


def test_metadata_of_a_distribution_are_parsed_once_for_all_its_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = []
    metadata = PathDistribution.metadata.fget
    counting = property(lambda self: (read.append(self), metadata(self))[1])
    monkeypatch.setattr(PathDistribution, "metadata", counting)
    fresh = Registry()
    parts = sum(len(fresh.names(kind)) for kind in KINDS)
    assert parts > 100
    # `entry_points` reads the name of each distribution for each kind; then its name and version.
    assert len([each for each in read if _offers_parts(each)]) < parts


def _offers_parts(distribution: PathDistribution) -> bool:
    return any(each.group.startswith("vqazoo.") for each in distribution.entry_points)
