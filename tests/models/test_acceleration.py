"""Accelerated models compute the same, and come back as they were."""

import copy
import pickle
import re

import pytest
import torch
from torch import nn

from satn_fast import SATN, accelerate, reference, restore
from satn_fast.acceleration import Report, blocks

from .tcn_models import NORMS, Block, TemporalConvNet
from .test_reference import small_config

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")


def locuslab(norm="new", dropout=0.0, kernel_size=3):
    return TemporalConvNet(5, (6, 6, 4), kernel_size, dropout, norm)


def pytorch_tcn(**options):
    library = pytest.importorskip("pytorch_tcn")
    return library.TCN(5, (6, 6, 4), **({"kernel_size": 3, "dropout": 0.0} | options))


MODELS = {
    **{f"locuslab, {norm} weight norm": lambda norm=norm: locuslab(norm) for norm in NORMS},
    "locuslab, kernel 2": lambda: locuslab(kernel_size=2),
    "pytorch-tcn": pytorch_tcn,
    "pytorch-tcn, no norm, NLC": lambda: pytorch_tcn(use_norm=None, input_shape="NLC"),
    "pytorch-tcn, skips": lambda: pytorch_tcn(use_skip_connections=True, output_projection=3, output_activation="tanh"),
    "pytorch-tcn, own dilations": lambda: pytorch_tcn(dilations=(1, 5, 3)),
    "reference": lambda: reference.SATN(small_config()),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())


@pytest.fixture(autouse=True)
def _small_inputs_run_fast(monkeypatch):
    monkeypatch.setattr(blocks, "LEAST_FRAMES_ON_CPU", {"inference": 0, "training": 0})


def example(model, n_frames=19, dtype=torch.float32):
    if isinstance(model, reference.SATN):
        return torch.randn(2, n_frames, 6, dtype=dtype)
    x = torch.randn(2, 5, n_frames, dtype=dtype)
    return x.transpose(1, 2) if getattr(model, "input_shape", "") == "NLC" else x


def result(model, x):
    y = model(x)
    return y.logits if isinstance(y, tuple) else y


def values_and_gradients(model, x):
    x = x.clone().requires_grad_()
    y = result(model, x)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y)
    return [y, *torch.autograd.grad(y, [x, *model.parameters()], upstream, allow_unused=True)]


@every_model
@pytest.mark.parametrize("n_frames", [1, 2, 19])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_values_and_gradients_are_the_same(make, n_frames, training, dtype, allowed):
    model = make().to(dtype).train(training)
    x = example(model, n_frames, dtype)
    expected = values_and_gradients(model, x)
    assert accelerate(model).accelerated
    for ours, theirs in zip(values_and_gradients(model, x), expected, strict=True):
        if theirs is None:
            assert ours is None  # the last block's skip is not used
            continue
        torch.testing.assert_close(ours, theirs, rtol=0, atol=allowed * max(1.0, float(theirs.detach().abs().max())))


@every_model
def test_blocks_really_run_fast(make, monkeypatch):
    model = make().eval()
    accelerate(model)
    calls, original = [], blocks.functional.causal_conv1d
    monkeypatch.setattr("satn_fast.functional.causal_conv1d", lambda *a, **k: calls.append(1) or original(*a, **k))
    with torch.no_grad():
        result(model, example(model))
    assert len(calls) == 6 if not isinstance(model, reference.SATN) else calls


@every_model
def test_restoring_gives_every_module_its_class_and_state_back(make):
    model, n_frames = make().eval(), 19
    classes, attributes = [type(m) for m in model.modules()], [set(vars(m)) for m in model.modules()]
    x = example(model, n_frames)
    with torch.no_grad():
        before = result(model, x)
        accelerate(model)
        accelerated = result(model, x)
        restore(model)
        after = result(model, x)
    assert [type(m) for m in model.modules()] == classes
    assert [set(vars(m)) for m in model.modules()] == attributes
    assert torch.equal(before, after)
    torch.testing.assert_close(accelerated, before)


@every_model
def test_parameters_stay_the_very_same(make):
    model = make()
    frozen = next(model.parameters()).requires_grad_(False)
    parameters, state = dict(model.named_parameters()), copy.copy(model.state_dict())
    accelerate(model)
    assert not frozen.requires_grad
    assert all(parameter is parameters[name] for name, parameter in model.named_parameters())
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@every_model
def test_an_optimizer_made_before_goes_on_training(make):
    model, plain = make().double(), make().double()
    plain.load_state_dict(model.state_dict())
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, plain)]
    accelerate(model)
    x = example(model, dtype=torch.float64)
    for m, optimizer in zip((model, plain), optimizers, strict=True):
        for _ in range(2):
            optimizer.zero_grad()
            result(m, x).square().mean().backward()
            optimizer.step()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@every_model
def test_modes_dropout_and_random_numbers_are_left_as_they_were(make):
    model = make()
    modules = list(model.modules())
    modules[-1].eval()
    modes, rng = [module.training for module in modules], torch.get_rng_state()
    accelerate(model)
    assert [module.training for module in modules] == modes
    assert torch.equal(torch.get_rng_state(), rng)


@pytest.mark.parametrize("make", [MODELS["locuslab, new weight norm"], MODELS["pytorch-tcn"], MODELS["reference"]])
def test_copies_and_weights_loaded_into_them_work(make):
    model = make().eval()
    x = example(model)
    accelerate(model)
    with torch.no_grad():
        expected = result(model, x)
        duplicate = copy.deepcopy(model)
        torch.testing.assert_close(result(duplicate, x), expected)
        restore(duplicate)
        torch.testing.assert_close(result(duplicate, x), expected)
        other = make().eval()
        accelerate(other)
        other.load_state_dict(model.state_dict())
        torch.testing.assert_close(result(other, x), expected)


def test_distributed_training_goes_on():
    if not torch.distributed.is_available():
        pytest.skip("torch was built without torch.distributed")
    model, x = locuslab(), torch.randn(2, 5, 9)
    expected = values_and_gradients(model, x)[2:]
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        parallel = nn.parallel.DistributedDataParallel(model)
        assert accelerate(parallel).accelerated[0] == "module.network.0"
        y = parallel(x)
        upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).float()
        y.backward(upstream)
    finally:
        torch.distributed.destroy_process_group()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_a_model_that_can_be_pickled_still_can_be():
    model, x = locuslab("none").eval(), torch.randn(2, 5, 9)
    accelerate(model)
    again = pickle.loads(pickle.dumps(model))
    assert [type(m) for m in again.modules()] == [type(m) for m in model.modules()]
    assert torch.equal(again(x), model(x))


def test_accelerating_twice_is_accelerating_once():
    model = locuslab()
    first = accelerate(model)
    assert accelerate(model) == first == Report(("network.0", "network.1", "network.2"), {})
    restore(model)
    restore(model)
    assert {type(block) for block in model.network} == {Block}


@every_model
def test_compiles_without_a_graph_break(make):
    model = make()
    x = example(model)
    accelerate(model)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(result(compiled, x), result(model, x))


@pytest.mark.parametrize(
    ("batch", "recording", "fast"), [(3, False, False), (4, False, True), (7, True, False), (8, True, True)]
)
def test_few_frames_on_a_cpu_run_the_own_code(monkeypatch, batch, recording, fast):
    monkeypatch.setattr(blocks, "LEAST_FRAMES_ON_CPU", {"inference": 40, "training": 80})
    model, own_calls = locuslab().eval(), []
    accelerate(model)
    monkeypatch.setattr(Block, "forward", lambda self, x: own_calls.append(self) or torch.zeros(len(x), 6, 10))
    with torch.set_grad_enabled(recording):
        model(torch.randn(batch, 5, 10))
    assert len(own_calls) == (0 if fast else 3)


def test_results_are_contiguous_like_the_originals():
    for model in (locuslab(), pytorch_tcn()):
        accelerate(model.eval())
        with torch.no_grad():
            assert model(torch.randn(2, 5, 9)).is_contiguous()


def test_dropout_has_the_same_distribution():
    model = TemporalConvNet(3, (400,), 2, dropout=0.3)
    accelerate(model)
    block, x = model.network[0], torch.randn(1, 3, 50)
    # With the residual connection at zero, what is left is ReLU(dropout(ReLU(...))).
    nn.init.zeros_(block.downsample.weight), nn.init.zeros_(block.downsample.bias)
    nn.init.ones_(block.conv2.bias), block.dropout1.eval()
    dropped = float((model(x) == 0).float().mean())
    reached_zero = float((model.eval()(x) == 0).float().mean())
    assert dropped == pytest.approx(0.3 + 0.7 * reached_zero, abs=0.02)


@pytest.mark.parametrize("with_residual", [True, False])
def test_dropout_is_of_elements_as_the_library_has_it(with_residual):
    torch.manual_seed(0)
    conv, x = torch.nn.Conv1d(3, 20, 1), torch.randn(1, 4000, 3)
    residual = torch.zeros(1, 4000, 20) if with_residual else None
    alive = blocks.convolved(conv, torch.nn.Dropout(0.0), x) > 0
    dropped = alive & (blocks.convolved(conv, torch.nn.Dropout(0.3), x, residual) == 0)
    share = dropped.sum((0, 1)) / alive.sum((0, 1))
    often = alive.sum((0, 1)) > 400
    assert int(often.sum()) > 10
    assert float((share[often] - 0.3).abs().max()) < 5 * (0.3 * 0.7 / 400) ** 0.5


def test_dropout_of_everything_and_of_a_part_in_its_own_mode():
    model, x = locuslab(dropout=1.0), torch.randn(2, 5, 9)
    expected = model(x)
    accelerate(model)
    assert torch.equal(model(x), expected)
    for module in model.modules():
        module.training = False
    model.network[0].dropout1.train()
    assert not torch.allclose(model(x), TemporalConvNet.forward(copy.deepcopy(model).eval(), x))


class Subclass(Block):
    def forward(self, x):
        return super().forward(x) * 2


class SameSubclass(Block):
    pass


def first_block(**changes):
    """A network with something changed in its first block."""

    def make():
        model = locuslab()
        block = model.network[0]
        for name, module in changes.items():
            setattr(block, name, module)
        stages = ("conv1", "chomp1", "relu1", "dropout1", "conv2", "chomp2", "relu2", "dropout2")
        block.net = nn.Sequential(*(getattr(block, name) for name in stages))
        return model

    return make


def hooked():
    model = locuslab()
    model.network[0].relu1.register_forward_hook(lambda *_: None)
    return model


def replaced_forward():
    model = locuslab()
    model.network[0].forward = lambda x: x
    return model


def with_blocks(first):
    def make():
        model = locuslab("none")
        model.network[0] = first()
        return model

    return make


def spectral():
    block = Block(5, 6, 3, 1, norm="none")
    nn.utils.parametrizations.spectral_norm(block.conv1)
    return block


REFUSED = {
    "GELU": (first_block(relu2=nn.GELU()), "activation2 is GELU, not ReLU"),
    "another final activation": (first_block(relu=nn.Tanh()), "activation is Tanh, not ReLU"),
    "channel dropout": (first_block(dropout1=nn.Dropout1d(0.1)), "dropout1 is Dropout1d, not Dropout"),
    "a hook": (hooked, "net.2 has a hook|relu1 has a hook"),
    "a replaced forward": (replaced_forward, "its forward was replaced"),
    "a subclass that computes otherwise": (with_blocks(lambda: Subclass(5, 6, 3, 1)), "computes something else"),
    "no room for the history": (with_blocks(lambda: Block(5, 6, 3, 2, padding=2)), "pads or crops otherwise"),
    "groups": (with_blocks(lambda: Block(5, 5, 3, 1, groups=5)), "groups"),
    "another padding": (with_blocks(lambda: Block(5, 6, 3, 1, padding_mode="circular")), "padding mode 'circular'"),
    "kernel 1, which crops everything": (with_blocks(lambda: Block(5, 6, 1, 1)), "its forward"),
    "spectral norm": (with_blocks(spectral), "conv1 is parametrized by _SpectralNorm"),
    "a module of its own": (first_block(attention=nn.Linear(2, 2)), "has a module of its own, attention"),
    "another downsampling": (first_block(downsample=nn.Conv1d(5, 6, 3, padding=1)), "not a convolution over single"),
    "pytorch-tcn, gate": (lambda: pytorch_tcn(use_gate=True), "use_gate is True"),
    "pytorch-tcn, batch norm": (lambda: pytorch_tcn(use_norm="batch_norm"), "use_norm is 'batch_norm'"),
    "pytorch-tcn, layer norm": (lambda: pytorch_tcn(use_norm="layer_norm"), "use_norm is 'layer_norm'"),
    "pytorch-tcn, GELU": (lambda: pytorch_tcn(activation="gelu"), "activation1 is GELU"),
    "pytorch-tcn, not causal": (lambda: pytorch_tcn(causal=False), "is not causal"),
    "pytorch-tcn, embeddings": (lambda: pytorch_tcn(embedding_shapes=[(3,)]), "takes embeddings"),
}


@pytest.mark.filterwarnings("ignore:\\s*Argument 'kernel_initializer':UserWarning")  # pytorch-tcn, of its own default
@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_exact_is_left_alone_and_named(make, reason):
    model = make()
    own_class, state = type(model.network[0]), copy.copy(model.state_dict())
    report = accelerate(model)
    assert type(model.network[0]) is own_class
    assert "network.0" in report.left_alone
    assert re.search(reason, report.left_alone["network.0"])
    assert f"left alone ({report.left_alone['network.0']}): network.0" in str(report)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_the_trial_is_of_the_fast_computation_however_few_its_frames(monkeypatch):
    monkeypatch.setattr(blocks, "LEAST_FRAMES_ON_CPU", {"inference": 10**6, "training": 10**6})
    report = accelerate(with_blocks(lambda: Subclass(5, 6, 3, 1))())
    assert report.left_alone == {"network.0": "its forward computes something else"}


def test_other_blocks_of_a_network_are_accelerated_still():
    model, x = hooked().eval(), torch.randn(2, 5, 9)
    expected = model(x)
    assert accelerate(model).accelerated == ("network.1", "network.2")
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected)


def test_a_subclass_that_computes_the_same_is_accelerated():
    model = with_blocks(lambda: SameSubclass(5, 6, 3, 1))()
    assert "network.0" in accelerate(model).accelerated
    assert isinstance(model.network[0], SameSubclass)


def test_hooks_on_blocks_and_hooks_added_later_inside_run():
    model, seen = locuslab().eval(), []
    model.network[0].register_forward_hook(lambda *_: seen.append("block"))
    accelerate(model)
    model.network[1].relu1.register_forward_hook(lambda *_: seen.append("inside"))
    with torch.no_grad():
        model(torch.randn(1, 5, 9))
    assert seen == ["block", "inside"]


def test_weight_norm_may_be_removed_afterwards():
    model, x = locuslab("old").eval(), torch.randn(2, 5, 9)
    accelerate(model)
    with torch.no_grad():
        expected = model(x)
        for block in model.network:
            nn.utils.remove_weight_norm(block.conv1)
        torch.testing.assert_close(model(x), expected)


def test_streaming_inference_of_pytorch_tcn_is_its_own():
    model = pytorch_tcn().eval()
    plain, x = copy.deepcopy(model), torch.randn(1, 5, 24)
    accelerate(model)
    with torch.no_grad():
        for chunk in x.split(8, dim=2):
            assert torch.equal(model.inference(chunk), plain.inference(chunk))
        model.reset_buffers()
        chunks = torch.cat([model.inference(chunk) for chunk in x.split(8, dim=2)], dim=2)
        torch.testing.assert_close(chunks, model(x))


def test_a_fast_model_is_left_as_it_is():
    model = SATN(small_config())
    assert set(accelerate(model).left_alone.values()) == {"is fast already"}
    restore(model)
    assert type(model.encoder.tcn) is not reference.TemporalConvNet


def test_subclasses_and_foreign_blocks_of_the_reference_are_left_alone():
    class Convolution(reference.CausalConv1d):
        pass

    model = reference.SATN(small_config()).eval()
    model.encoder.tcn.blocks[0].conv1.__class__ = Convolution
    report = accelerate(model)
    assert "CausalConv1d" in report.left_alone["encoder.tcn.blocks.0.conv1"]
    assert type(model.encoder.tcn) is reference.TemporalConvNet
    assert "ResidualBlock" in report.left_alone["encoder.tcn"]
    assert "encoder.attention" in report.accelerated


def test_a_model_without_known_modules_gets_a_clear_report():
    report = accelerate(nn.Linear(2, 2))
    assert report == Report()
    assert "nothing to accelerate" in str(report)


@pytest.mark.parametrize("function", [accelerate, restore])
def test_only_modules_are_taken(function):
    with pytest.raises(TypeError, match="model is a dict"):
        function({})


def test_a_block_by_itself_is_accelerated():
    block, x = Block(5, 6, 3, 2).eval(), torch.randn(2, 5, 9)
    expected = block(x)
    assert "the model itself" in str(accelerate(block))
    with torch.no_grad():
        torch.testing.assert_close(block(x), expected)
