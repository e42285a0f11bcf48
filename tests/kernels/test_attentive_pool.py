import pytest
import torch

from satn_fast.functional import attentive_pool
from satn_fast.kernels.attentive_pool import DEVIATION_FLOOR, reference, torch_backend

from .cases import poison_padding

WIDTHS = [(4,), (3, 3, 3), (2, 5, 1)]


@pytest.fixture
def by_hand(monkeypatch):
    """Gradients by hand, for the smallest inputs too."""
    monkeypatch.setattr(torch_backend, "WORTH_VISITING", 0)


def arguments(batch=3, n_frames=6, channels=4, size=5):
    return (
        torch.randn(batch, n_frames, channels).double(),
        torch.randn(size, channels).double(),
        torch.randn(size).double(),
        torch.randn(size).double(),
    )


def layers_and_parameters(widths, batch=3, n_frames=7, size=5, offset=0.0):
    """An offset of the channels leaves the scores as they are."""
    layers = [torch.randn(batch, n_frames, width).double() + offset for width in widths]
    weight, bias, context = arguments(channels=sum(widths), size=size)[1:]
    return layers, [weight, bias - offset * weight.sum(1), context]


def results_and_gradients(function, layers, parameters, **options):
    leaves = [x.detach().clone().requires_grad_() for x in (*parameters, *layers)]
    results = function(leaves[3:], *leaves[:3], **options)
    torch.manual_seed(1)
    return [*results, *torch.autograd.grad(results, leaves, [torch.randn_like(result) for result in results])]


def test_follows_the_definition():
    h, weight, bias, context = arguments()
    pooled, weights = attentive_pool(h, weight, bias, context, lengths=torch.tensor([6, 2, 1]))
    for row, length in enumerate((6, 2, 1)):
        scores = torch.stack([context @ torch.tanh(weight @ h[row, t] + bias) for t in range(length)])
        expected = scores.exp() / scores.exp().sum()
        torch.testing.assert_close(weights[row, :length], expected)
        torch.testing.assert_close(pooled[row], expected @ h[row, :length])


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_statistics_of_layers_follow_the_definition(widths, by_hand):
    layers, (weight, bias, context) = layers_and_parameters(widths)
    pooled, weights = attentive_pool(layers, weight, bias, context, lengths=torch.tensor([7, 2, 1]), deviation=True)
    for row, length in enumerate((7, 2, 1)):
        h = torch.cat([layer[row, :length] for layer in layers], -1)
        expected = torch.stack([context @ torch.tanh(weight @ frame + bias) for frame in h]).softmax(0)
        mean = expected @ h
        variance = sum(w * (frame - mean) ** 2 for w, frame in zip(expected, h, strict=True))
        torch.testing.assert_close(weights[row, :length], expected)
        torch.testing.assert_close(pooled[row], torch.cat([mean, (variance + DEVIATION_FLOOR).sqrt()]))


def test_one_tensor_gives_the_bits_that_pytorch_gives():
    h, weight, bias, context = (tensor.float() for tensor in arguments(4, 50, 64, 32))
    weights = (torch.tanh(h @ weight.T + bias) @ context).softmax(-1)
    pooled = torch.einsum("bt,btc->bc", weights, h)
    for given in (h, [h]):
        ours = attentive_pool(given, weight, bias, context)
        assert torch.equal(ours[0], pooled)
        assert torch.equal(ours[1], weights)


@pytest.mark.parametrize("offset", [0.0, 1e5])
@pytest.mark.parametrize("lengths", [None, [7, 3, 0]])
@pytest.mark.parametrize("deviation", [False, True])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_by_hand_equals_the_reference(widths, deviation, lengths, offset, by_hand, monkeypatch):
    """Around a mean of 1e5 deviations too, where mean squares less squared means would lose ten digits."""
    options = {"deviation": deviation, "lengths": None if lengths is None else torch.tensor(lengths)}
    layers, parameters = layers_and_parameters(widths, offset=offset)
    expected = results_and_gradients(reference.attentive_pool, layers, parameters, **options)
    if deviation or len(widths) > 1:
        monkeypatch.setattr(reference, "attentive_pool", None)
    poisoned = [poison_padding(layer, options["lengths"]) for layer in layers]
    ours = results_and_gradients(attentive_pool, poisoned, parameters, **options)
    # A gradient of weight sums up frames of size 1e5 whose weights cancel.
    tolerance = 1e-12 if offset == 0.0 else 1e-9
    for index, (left, right) in enumerate(zip(ours, expected, strict=True)):
        scale = max(1.0, float(right.detach().abs().max())) * (offset if offset and index == 2 else 1.0)
        torch.testing.assert_close(left, right, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("deviation", [False, True])
@pytest.mark.parametrize("wanted", [0, 1])
def test_by_hand_one_result_alone_has_gradients(deviation, wanted, by_hand):
    layers, parameters = layers_and_parameters((3, 3))

    def gradients(function):
        leaves = [x.clone().requires_grad_() for x in (*parameters, *layers)]
        result = function(leaves[3:], *leaves[:3], deviation=deviation)[wanted]
        return torch.autograd.grad(result.square().sum(), leaves)

    for left, right in zip(gradients(attentive_pool), gradients(reference.attentive_pool), strict=True):
        torch.testing.assert_close(left, right)


def test_by_hand_takes_strided_layers(by_hand):
    layers, parameters = layers_and_parameters((4, 6))
    strided = [layers[0].transpose(0, 1).contiguous().transpose(0, 1), layers[1].repeat_interleave(2, 2)[..., ::2]]
    leaves = [x.requires_grad_() for x in (*parameters, *strided)]
    pooled, _ = attentive_pool(leaves[3:], leaves[0].T.contiguous().T, *leaves[1:3], deviation=True)
    upstream = torch.randn(20).double().expand(3, 20)
    expected, _ = reference.attentive_pool(leaves[3:], *leaves[:3], deviation=True)
    torch.testing.assert_close(pooled, expected)
    ours, right = (torch.autograd.grad(value, leaves, upstream) for value in (pooled, expected))
    for left, other in zip(ours, right, strict=True):
        torch.testing.assert_close(left, other)


def test_large_inputs_go_by_hand(monkeypatch):
    """At their true size, in float32, against float64."""
    layers, parameters = layers_and_parameters((64,) * 6, batch=32, n_frames=50, size=64)
    parameters[0] /= 384**0.5
    expected = results_and_gradients(reference.attentive_pool, layers, parameters, deviation=True)
    inputs = [x.float() for x in layers], [x.float() for x in parameters]
    plain = results_and_gradients(reference.attentive_pool, *inputs, deviation=True)
    monkeypatch.setattr(reference, "attentive_pool", None)
    ours = results_and_gradients(attentive_pool, *inputs, deviation=True)
    for left, other, right in zip(ours, plain, expected, strict=True):
        assert (left - right).norm() <= 3 * (other - right).norm()


def test_padding_is_inert_and_empty_rows_are_zero():
    lengths = torch.tensor([6, 2, 0])
    h, *parameters = arguments()
    clean, weights = attentive_pool(h, *parameters, lengths=lengths)
    poisoned = poison_padding(h, lengths).requires_grad_()
    pooled, _ = attentive_pool(poisoned, *parameters, lengths=lengths)
    pooled.sum().backward()
    torch.testing.assert_close(pooled, clean)
    assert torch.isfinite(poisoned.grad).all()
    assert not poisoned.grad[1, 2:].any()
    assert not pooled[2].any()
    assert not weights[2].any()
    assert not weights[1, 2:].any()


@pytest.mark.parametrize("worth", [0, torch_backend.WORTH_VISITING])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_statistics_of_padding_and_of_empty_rows(widths, worth, monkeypatch):
    monkeypatch.setattr(torch_backend, "WORTH_VISITING", worth)
    lengths = torch.tensor([7, 2, 0])
    layers, parameters = layers_and_parameters(widths)
    clean, _ = attentive_pool(layers, *parameters, lengths=lengths, deviation=True)
    leaves = [poison_padding(layer, lengths).requires_grad_() for layer in layers]
    parameters = [parameter.requires_grad_() for parameter in parameters]
    pooled, weights = attentive_pool(leaves, *parameters, lengths=lengths, deviation=True)
    (pooled.square().sum() + pooled.sum() + weights.square().sum()).backward()
    torch.testing.assert_close(pooled, clean)
    assert not pooled[2].any()
    assert pooled[:2, sum(widths) :].all()
    for leaf in leaves:
        assert torch.isfinite(leaf.grad).all()
        assert not leaf.grad[1, 2:].any()
        assert not leaf.grad[2].any()
    assert all(torch.isfinite(parameter.grad).all() for parameter in parameters)


def test_gradients_pass_gradcheck():
    inputs = [tensor.requires_grad_() for tensor in arguments()]
    lengths = torch.tensor([6, 3, 0])
    assert torch.autograd.gradcheck(lambda *tensors: attentive_pool(*tensors, lengths=lengths), inputs)


@pytest.mark.parametrize("deviation", [False, True])
@pytest.mark.parametrize("lengths", [None, [7, 3, 0]])
@pytest.mark.parametrize("widths", [(4,), (2, 3)], ids=str)
def test_first_and_second_gradients_of_layers_pass_gradcheck(widths, lengths, deviation, by_hand):
    layers, parameters = layers_and_parameters(widths, size=3)
    options = {"deviation": deviation, "lengths": None if lengths is None else torch.tensor(lengths)}
    inputs = [tensor.requires_grad_() for tensor in (*parameters, *layers)]

    def pool(*tensors):
        return attentive_pool(tensors[3:], *tensors[:3], **options)

    assert torch.autograd.gradcheck(pool, inputs)
    assert torch.autograd.gradgradcheck(pool, inputs)


def test_second_gradients_where_only_some_tensors_have_any(by_hand):
    layers, parameters = layers_and_parameters((2, 3))
    layers[1].requires_grad_()

    def slope(function):
        pooled, _ = function(layers, *parameters, deviation=True)
        (first,) = torch.autograd.grad(pooled.square().sum(), layers[1], create_graph=True)
        return torch.autograd.grad(first.square().sum(), layers[1])[0]

    torch.testing.assert_close(slope(attentive_pool), slope(reference.attentive_pool))


def test_transforms_see_through_it(by_hand):
    layers, parameters = layers_and_parameters((2, 3))

    def pool(first):
        return attentive_pool([first, layers[1]], *parameters, deviation=True)[0].square().sum()

    first = layers[0].clone().requires_grad_()
    (expected,) = torch.autograd.grad(pool(first), first)
    torch.testing.assert_close(torch.func.grad(pool)(layers[0]), expected)
    torch.testing.assert_close(torch.func.vmap(pool)(layers[0][None]), pool(layers[0])[None])
    direction = torch.randn_like(layers[0])
    torch.testing.assert_close(torch.func.jvp(pool, (layers[0],), (direction,))[1], (expected * direction).sum())
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(layers[0], direction)
        tangent = torch.autograd.forward_ad.unpack_dual(pool(dual)).tangent
        torch.testing.assert_close(tangent, (expected * direction).sum())


class Statistics(torch.nn.Module):
    def __init__(self, parameters):
        super().__init__()
        self.weight, self.bias, self.context = map(torch.nn.Parameter, parameters)

    def forward(self, first, second, lengths):
        layers = [first, second]
        return attentive_pool(layers, self.weight, self.bias, self.context, lengths=lengths, deviation=True)[0]


def test_compiles_as_one_graph_and_exports_with_any_length(by_hand):
    layers, parameters = layers_and_parameters((2, 3))
    module, lengths = Statistics(parameters), torch.tensor([7, 3, 0])
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    frames = torch.export.Dim("frames")
    dimensions = {"first": {1: frames}, "second": {1: frames}, "lengths": None}
    program = torch.export.export(module, (*layers, lengths), dynamic_shapes=dimensions)
    for n_frames in (7, 9):
        inputs = (*layers_and_parameters((2, 3), n_frames=n_frames)[0], lengths)
        expected, ours = module(*inputs), compiled(*inputs)
        torch.testing.assert_close(ours, expected)
        torch.testing.assert_close(program.module()(*inputs), expected)
        gradients = (torch.autograd.grad(x.square().sum(), list(module.parameters())) for x in (ours, expected))
        for left, right in zip(*gradients, strict=True):
            torch.testing.assert_close(left, right)


def test_autocast_takes_layers_of_two_dtypes(by_hand):
    layers, parameters = layers_and_parameters((8, 8))
    inputs, parameters = [x.float() for x in layers], [x.float().requires_grad_() for x in parameters]
    with torch.autocast("cpu", torch.bfloat16):
        pooled, _ = attentive_pool([inputs[0].bfloat16(), inputs[1]], *parameters, deviation=True)
    expected, _ = attentive_pool(inputs, *parameters, deviation=True)
    torch.testing.assert_close(pooled.float(), expected, rtol=0.05, atol=0.05)
    for tensor in torch.autograd.grad(pooled.sum(), parameters):
        assert tensor.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_gives_half_precision(dtype, by_hand):
    layers, parameters = layers_and_parameters((8, 8))
    inputs = [[x.to(dtype) for x in tensors] for tensors in (layers, parameters)]
    pooled, weights = attentive_pool(inputs[0], *inputs[1], deviation=True)
    assert pooled.dtype == weights.dtype == dtype
    torch.testing.assert_close(
        pooled.double(), attentive_pool(layers, *parameters, deviation=True)[0], rtol=0.05, atol=0.05
    )


@pytest.mark.parametrize("deviation", [False, True])
def test_no_frames_give_zeros(deviation):
    h, *parameters = arguments(n_frames=0)
    pooled, weights = attentive_pool(h, *parameters, deviation=deviation)
    assert pooled.shape == (3, 8 if deviation else 4)
    assert weights.shape == (3, 0)
    assert not pooled.any()


@pytest.mark.parametrize(("position", "name"), [(0, "h"), (1, "weight"), (2, "bias"), (3, "context")])
def test_unfit_arguments_are_named(position, name):
    tensors = list(arguments())
    tensors[position] = torch.zeros(7)
    with pytest.raises(ValueError, match=f"{name} has shape"):
        attentive_pool(*tensors)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (torch.zeros(3, 6), r"h\[1\] has shape \(3, 6\)"),
        (torch.zeros(3, 5, 2), r"h\[1\] has shape \(3, 5, 2\); give \(3, 6, channels\)"),
        (torch.zeros(3, 6, 2), r"h\[1\] is torch.float32, but h\[0\] is torch.float64"),
        (torch.zeros(3, 6, 2, device="meta"), r"h\[1\] is on meta, but h\[0\] is on cpu"),
        (torch.zeros(3, 6, 2).double(), r"weight has shape \(5, 4\); give \(hidden, 6\)"),
    ],
)
def test_unfit_layers_are_named(layer, message):
    h, *parameters = arguments()
    with pytest.raises(ValueError, match=message):
        attentive_pool([h, layer], *parameters)


def test_no_layer_is_refused():
    with pytest.raises(ValueError, match="h has no layer"):
        attentive_pool([], *arguments()[1:])
