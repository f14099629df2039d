"""Losses of a fusion's training, against sums written out, and the properties they are for."""

import math
from types import SimpleNamespace

import pytest
import torch

from h3eval.fusion import losses
from h3eval.fusion.architectures import Form
from h3eval.fusion.modeling_mixture import PROJECTIONS, Mixture

torch.manual_seed(0)
LOGITS = [torch.randn(2, 4, 3) for _ in range(2)]
MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
EXPERTS = torch.tensor([2, 0])


def layer(shared: bool, rank: int) -> Mixture:
    form = Form(3, 3, shared, rank=rank, scale=0.5)
    config = SimpleNamespace(hidden_size=6, intermediate_size=8, hidden_act="silu", mixture=form.table())
    made = Mixture(config).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made


def test_gating_is_the_surprise_at_the_right_expert_over_tokens_that_count() -> None:
    total = 0.0
    for sample, length in enumerate((3, 2)):
        kept = [each[sample, token].softmax(-1)[EXPERTS[sample]] for each in LOGITS for token in range(length)]
        total -= math.log(float(sum(kept)) / len(kept))
    assert float(losses.gating(LOGITS, MASK, EXPERTS)) == pytest.approx(total / 2, rel=1e-6)


def test_padding_changes_no_loss_but_the_published_codes() -> None:
    other = [each.clone() for each in LOGITS]
    for each in other:
        each[MASK == 0] = 50.0 * torch.randn(3, 3)
    assert float(losses.gating(other, MASK, EXPERTS)) == pytest.approx(float(losses.gating(LOGITS, MASK, EXPERTS)))
    assert float(losses.entropy(other, MASK)) == pytest.approx(float(losses.entropy(LOGITS, MASK)))
    torch.testing.assert_close(losses.step_routing(other, MASK), losses.step_routing(LOGITS, MASK))
    published = [losses.gating_h3fusion_code(each, EXPERTS) for each in (LOGITS, other)]
    assert abs(float(published[0] - published[1])) > 1e-3


def test_the_published_gating_loss_hardly_tells_a_perfect_router_from_a_wrong_one() -> None:
    """0.55 to 1.55 for three experts; ours runs from 0 up."""
    sure = 1e4 * torch.eye(3)[torch.tensor([0, 0])][:, None].expand(2, 4, 3)
    right, wrong = torch.tensor([0, 0]), torch.tensor([1, 1])
    assert float(losses.gating_h3fusion_code([sure], right)) == pytest.approx(0.5514, abs=1e-4)
    assert float(losses.gating_h3fusion_code([sure], wrong)) == pytest.approx(1.5514, abs=1e-4)
    assert float(losses.gating([sure], MASK, right)) == pytest.approx(0, abs=1e-6)
    assert float(losses.gating([sure], MASK, wrong)) > 20


def test_entropy_of_even_and_of_sure_routing() -> None:
    assert float(losses.entropy([torch.zeros(2, 4, 3)], MASK)) == pytest.approx(math.log(3), rel=1e-6)
    assert float(losses.entropy([torch.tensor([60.0, 0, 0]).expand(2, 4, 3)], MASK)) == pytest.approx(0, abs=1e-6)


def test_divergence_is_zero_for_the_same_routing_and_as_computed_for_another() -> None:
    now, before = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    assert float(losses.divergence(now, now)) == 0
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert float(losses.divergence(now, before)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("shared", "rank"), [(False, 0), (False, 2), (True, 2)])
def test_drift_is_the_squared_distance_of_whole_matrices(shared: bool, rank: int) -> None:
    made = layer(shared, rank)
    if rank and not shared:
        for name in PROJECTIONS:
            getattr(made, name).requires_grad_(False)
    before = {name: whole(made, name) for name in PROJECTIONS}
    drift = losses.Drift([made])
    assert float(drift().detach().abs().max()) == pytest.approx(0, abs=1e-4)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad and not (shared and parameter.dim() == 2):
                parameter += 0.3 * torch.randn_like(parameter)
    expected = sum((whole(made, name) - before[name]).pow(2).sum((1, 2)) for name in PROJECTIONS)
    torch.testing.assert_close(drift().detach().double(), expected, rtol=1e-4, atol=1e-4)


def test_a_small_move_of_large_low_rank_changes_keeps_its_digits() -> None:
    """The products that make a low-rank distance cancel: in float32 this one is lost."""
    made = layer(True, 2)
    with torch.no_grad():
        for name in PROJECTIONS:
            for part in getattr(made, name + "_vectors").parameters():
                part.mul_(30)
    drift = losses.Drift([made])
    before = {name: getattr(made, name + "_vectors").b.detach().double().clone() for name in PROJECTIONS}
    with torch.no_grad():
        for name in PROJECTIONS:
            getattr(made, name + "_vectors").b.mul_(1 + 3e-5)
    expected = torch.zeros(3, dtype=torch.float64)
    for name in PROJECTIONS:
        vectors = getattr(made, name + "_vectors")
        moved = (vectors.b.detach().double() - before[name]) @ vectors.a.detach().double()
        expected += made.scale**2 * moved.pow(2).sum((1, 2))
    torch.testing.assert_close(drift().detach(), expected, rtol=1e-4, atol=0)
    weighted = drift().sum().float()
    weighted.backward()
    assert bool(made.up_proj_vectors.b.grad.isfinite().all())


def whole(made: Mixture, name: str) -> torch.Tensor:
    weight = getattr(made, name).weight.detach().clone()
    weight = weight.expand(3, *weight.shape[-2:]) if weight.dim() == 2 else weight
    if made.low_rank:
        vectors = getattr(made, name + "_vectors")
        weight = weight + made.scale * (vectors.b @ vectors.a).detach()
    return weight


def test_the_published_drift_grows_with_weights_that_never_move() -> None:
    made = layer(False, 2)
    still = losses.drift_h3fusion_code([made])
    with torch.no_grad():
        made.gate_proj.weight *= 2  # type: ignore[operator]
    assert bool((losses.drift_h3fusion_code([made]) > still).all())
