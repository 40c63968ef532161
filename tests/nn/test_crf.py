"""The CRF against the definition: every sequence of tags is written out and scored by hand."""

import itertools
from collections import Counter

import pytest
import torch
from torch.testing import assert_close

from seqpipe.nn import crf_nats
from seqpipe.nn.crf import (
    FORBIDDEN,
    Allowed,
    CRFHead,
    conditional_logits,
    constrained,
    log_likelihood,
    marginals,
    step_nats,
    viterbi,
)

LENGTHS = torch.tensor([5, 1, 3, 2])
B, T = len(LENGTHS), int(LENGTHS.max())


def potentials_of(K, scale=2.0, seed=0):
    """Random ones, (B, T, K, K), whose first step has rows alike, as a head says them."""
    generator = torch.Generator().manual_seed(seed)
    potentials = scale * torch.randn(B, T, K, K, generator=generator)
    potentials[:, 0] = potentials[:, 0, :1].clone()
    return potentials


def score(potentials, tags):
    """Of one sequence; potentials: (T, K, K)."""
    first = potentials[0, 0, tags[0]]
    return first + sum(potentials[t, tags[t - 1], tags[t]] for t in range(1, len(tags)))


def scored(potentials, length):
    """Every sequence of tags and its score. Returns (N, length) ids and (N,)."""
    every = list(itertools.product(range(potentials.shape[-1]), repeat=length))
    return torch.tensor(every), torch.stack([score(potentials, tags) for tags in every])


def rules(K, seed=0):
    """Random rules that leave something at every length: 0 may do everything."""
    generator = torch.Generator().manual_seed(seed)
    start, end = (torch.rand(K, generator=generator) < 0.5 for _ in range(2))
    follow = torch.rand(K, K, generator=generator) < 0.5
    start[0] = end[0] = follow[0, 0] = True
    return Allowed(start, follow, end)


def keeps(tags, allowed):
    """Whether a sequence keeps the rules."""
    steps = all(allowed.follow[i, j] for i, j in itertools.pairwise(tags))
    return bool(allowed.start[tags[0]] and steps and allowed.end[tags[-1]])


def poisoned(potentials, value):
    padding = torch.arange(T + 2) >= LENGTHS.unsqueeze(1)
    longer = torch.cat([potentials, potentials[:, :2]], dim=1)
    return longer.masked_fill(padding.view(B, T + 2, 1, 1), value)


@pytest.mark.parametrize("K", [1, 2, 3, 4])
def test_the_likelihood_is_the_score_over_that_of_all_sequences(K):
    potentials = potentials_of(K)
    for b, length in enumerate(LENGTHS.tolist()):
        every, scores = scored(potentials[b], length)
        y = torch.zeros(len(every), T, dtype=torch.int64)
        y[:, :length] = every
        several = potentials[b].expand(len(every), T, K, K)
        log_p = log_likelihood(several, torch.full((len(every),), length), y)
        assert_close(log_p, scores.log_softmax(dim=0))
        assert_close(log_p.exp().sum(), torch.tensor(1.0))


@pytest.mark.parametrize("K", [1, 2, 3, 4])
def test_viterbi_finds_the_best_of_all_sequences(K):
    for seed in range(5):
        potentials = potentials_of(K, seed=seed)
        found = viterbi(potentials, LENGTHS)
        assert found.shape == (B, T)
        for b, length in enumerate(LENGTHS.tolist()):
            every, scores = scored(potentials[b], length)
            assert found[b, :length].tolist() == every[scores.argmax()].tolist()
            assert found[b, length:].eq(0).all()


def test_viterbi_is_not_the_best_tag_of_each_step():
    potentials = torch.tensor([[1.0, 0.9], [0.0, 0.0]]).view(1, 2, 1, 2).repeat(1, 1, 2, 1)
    potentials[0, 1, 0] -= 5.0  # nothing may come after tag 0
    assert viterbi(potentials, torch.tensor([2]))[0, 0] == 1
    assert potentials[0, 0, 0].argmax() == 0


@pytest.mark.parametrize("K", [1, 2, 3, 4])
def test_marginals_are_summed_over_all_sequences(K):
    potentials = potentials_of(K)
    found = marginals(potentials, LENGTHS)
    for b, length in enumerate(LENGTHS.tolist()):
        every, scores = scored(potentials[b], length)
        p = scores.softmax(dim=0)
        wanted = torch.zeros(T, K)
        for t in range(length):
            wanted[t] = torch.stack([p[every[:, t] == k].sum() for k in range(K)])
        assert_close(found[b], wanted)


def test_a_step_is_scored_given_the_tags_before_it_and_all_that_may_come_after():
    K, potentials = 3, potentials_of(3)
    y = torch.randint(0, K, (B, T))
    found = conditional_logits(potentials, LENGTHS, y).softmax(dim=-1)
    for b, length in enumerate(LENGTHS.tolist()):
        every, scores = scored(potentials[b], length)
        p = scores.softmax(dim=0)
        for t in range(length):
            same = (every[:, :t] == y[b, :t]).all(dim=1)
            of_tag = torch.stack([p[same & (every[:, t] == k)].sum() for k in range(K)])
            assert_close(found[b, t], of_tag / p[same].sum())


@pytest.mark.parametrize("K", [2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_what_breaks_the_rules_has_no_probability_and_the_rest_shares_it(K, seed):
    allowed = rules(K, seed)
    free = potentials_of(K, seed=seed)
    potentials = constrained(free, LENGTHS, allowed)
    best, p_of_tag = viterbi(potentials, LENGTHS), marginals(potentials, LENGTHS)
    for b, length in enumerate(LENGTHS.tolist()):
        every, scores = scored(free[b], length)
        kept = torch.tensor([keeps(tags, allowed) for tags in every.tolist()])
        p = scores.masked_fill(~kept, -torch.inf).softmax(dim=0)
        assert best[b, :length].tolist() == every[p.argmax()].tolist()
        for t in range(length):
            wanted = torch.stack([p[every[:, t] == k].sum() for k in range(K)])
            assert_close(p_of_tag[b, t], wanted)
            assert torch.equal(p_of_tag[b, t] == 0, wanted == 0)  # not only small
        y = torch.zeros(len(every), T, dtype=torch.int64)
        y[:, :length] = every
        several = potentials[b].expand(len(every), T, K, K)
        log_p = log_likelihood(several, torch.full((len(every),), length), y)
        assert_close(log_p[kept], p[kept].log())
        assert log_p[~kept].lt(FORBIDDEN / 2).all()


def test_what_is_forbidden_gets_no_gradient_and_nothing_else_a_bad_one():
    allowed, potentials = rules(4, seed=1), potentials_of(4).float().requires_grad_()
    y = torch.zeros(B, T, dtype=torch.int64)
    log_likelihood(constrained(potentials, LENGTHS, allowed), LENGTHS, y).sum().backward()
    assert potentials.grad.isfinite().all()
    assert potentials.grad[:, 1:].masked_select(~allowed.follow).eq(0).all()
    assert potentials.grad[0, 1:][:, allowed.follow].ne(0).any()


def test_gradients_agree_with_finite_differences():
    potentials = potentials_of(3).requires_grad_()
    y = torch.randint(0, 3, (B, T))
    allowed = Allowed(torch.ones(3) > 0, ~torch.eye(3).bool(), torch.ones(3) > 0)
    y[:, ::2], y[:, 1::2] = 0, 2  # no tag after itself
    assert torch.autograd.gradcheck(lambda p: log_likelihood(p, LENGTHS, y), potentials)
    assert torch.autograd.gradcheck(
        lambda p: log_likelihood(constrained(p, LENGTHS, allowed), LENGTHS, y), potentials
    )
    assert torch.autograd.gradcheck(lambda p: marginals(p, LENGTHS), potentials)


def test_the_gradient_of_the_likelihood_is_what_happened_less_what_was_expected():
    head = CRFHead(2, 3)
    emissions = torch.randn(B, T, 3, requires_grad=True)
    y = torch.randint(0, 3, (B, T))
    potentials = head.potentials(emissions, LENGTHS)
    log_likelihood(potentials, LENGTHS, y).sum().backward()
    real = (torch.arange(T) < LENGTHS.unsqueeze(1)).unsqueeze(-1)
    happened = torch.nn.functional.one_hot(y, 3) * real
    assert_close(emissions.grad, happened - marginals(potentials, LENGTHS))


@pytest.mark.parametrize("value", [1e6, -1e6, torch.inf, torch.nan])
def test_padding_may_hold_anything(value):
    potentials = potentials_of(3)
    y = torch.randint(0, 3, (B, T))
    allowed = rules(3)
    bad_y = torch.cat([y, torch.zeros_like(y[:, :2])], dim=1)
    bad_y[torch.arange(T + 2) >= LENGTHS.unsqueeze(1)] = -100 if value > 0 else 99  # no tag
    answers = []
    for values, truth in ((potentials, y), (poisoned(potentials, value), bad_y)):
        values = values.clone().requires_grad_()
        scores = constrained(values, LENGTHS, allowed)
        log_p = log_likelihood(scores, LENGTHS, truth)
        (gradient,) = torch.autograd.grad(log_p.sum(), values)
        answers.append([log_p, gradient, marginals(scores, LENGTHS), viterbi(scores, LENGTHS)])
    clean, bad = answers
    assert_close(clean[0], bad[0], rtol=0, atol=0)
    for first, other in zip(clean[1:], bad[1:], strict=True):
        assert_close(first, other[:, :T], rtol=0, atol=0)
        assert other[:, T:].eq(0).all()


def test_a_sequence_is_answered_alone_as_in_company():
    potentials, y = potentials_of(4), torch.randint(0, 4, (B, T))
    log_p = log_likelihood(potentials, LENGTHS, y)
    p, best = marginals(potentials, LENGTHS), viterbi(potentials, LENGTHS)
    for b, n in enumerate(LENGTHS.tolist()):
        alone, length = potentials[b : b + 1, :n], LENGTHS[b : b + 1]
        assert_close(log_likelihood(alone, length, y[b : b + 1, :n])[0], log_p[b])
        assert_close(marginals(alone, length)[0], p[b, :n])
        assert torch.equal(viterbi(alone, length)[0], best[b, :n])


def operations_of(output):
    """How often each operation stands in the graph that made a tensor, by name."""
    seen, waiting, names = set(), [output.grad_fn], []
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            names.append(type(node).__name__)
            waiting += [before for before, _ in node.next_functions]
    return Counter(names)


@pytest.mark.parametrize("function", [conditional_logits, marginals])
def test_time_is_cut_once_since_the_gradient_of_a_slice_is_as_large_as_the_whole(function):
    """T slices of (B, T, K, K) would make the backward pass quadratic in T."""

    def slices(T):
        potentials = torch.randn(2, T, 3, 3, requires_grad=True)
        given = (potentials, torch.tensor([T, T - 2]))
        given = given if function is marginals else (*given, torch.zeros(2, T).long())
        counts = operations_of(function(*given).sum())
        assert counts["LogsumexpBackward0"] == T - 1
        return counts["SelectBackward0"] + counts["SliceBackward0"]

    assert slices(20) == slices(40)


def test_the_loss_is_a_few_operations_whatever_the_number_of_steps():
    def operations(T):
        potentials = torch.randn(2, T, 3, 3, requires_grad=True)
        given = (torch.tensor([T, T - 2]), torch.zeros(2, T).long())
        return operations_of(step_nats(potentials, *given).sum()).total()

    assert operations(20) == operations(40) < 10


def cross_entropies(potentials, y):
    """`step_nats` by the plain formula, which autograd differentiates."""
    logits = conditional_logits(potentials, LENGTHS, y)
    real = torch.arange(y.shape[1]) < LENGTHS.unsqueeze(1)
    y = y.masked_fill(~real, 0)
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), y, reduction="none")
    return each * real


def by_products(monkeypatch):
    """Records whether the exponentials of scores were enough, at each call."""
    found, plain = [], crf_nats._chances

    def recorded(*given):
        chances = plain(*given)
        found.append(chances is not None)
        return chances

    monkeypatch.setattr(crf_nats, "_chances", recorded)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("K", [1, 2, 5, 17])
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_products_of_exponentials_agree_with_sums_of_logarithms(monkeypatch, dtype, K, scale):
    fast = by_products(monkeypatch)
    y, weights = torch.randint(0, K, (B, T)), torch.rand(B, T).to(dtype)
    for weight in (weights, torch.ones_like(weights)):
        found = []
        for function in (lambda p: step_nats(p, LENGTHS, y), lambda p: cross_entropies(p, y)):
            potentials = potentials_of(K, scale).to(dtype).requires_grad_()
            nats = function(potentials)
            found.append((nats, *torch.autograd.grad((nats * weight).sum(), potentials)))
        tight = {torch.float32: 3e-6, torch.float64: 1e-14}[dtype]
        assert_close(*found, rtol=tight, atol=10 * tight)
    assert fast == [True, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_exponentials_cannot_hold_is_summed_by_logarithms(monkeypatch, dtype):
    fast = by_products(monkeypatch)
    y, scores = torch.zeros(B, T).long(), potentials_of(3).to(dtype)
    scores[:, 1, :, 0] -= 80.0  # what occurred is as good as impossible
    dead = scores.clone()
    dead[:, 2, 1] -= 200.0  # as is all that may come after a tag
    for given, enough in ((scores, True), (dead, False)):
        found = []
        for function in (lambda p: step_nats(p, LENGTHS, y), lambda p: cross_entropies(p, y)):
            potentials = given.clone().requires_grad_()
            nats = function(potentials)
            found.append((nats, *torch.autograd.grad(nats.sum(), potentials)))
        assert_close(*found)
        assert fast.pop() == enough
    assert step_nats(dead, LENGTHS, y)[0, 1] > 70


def test_gradients_of_weighted_steps_agree_with_finite_differences(monkeypatch):
    y, weights = torch.randint(0, 3, (B, T)), torch.rand(B, T)
    potentials = potentials_of(3).requires_grad_()
    weighted = lambda p: step_nats(p, LENGTHS, y) * weights  # noqa: E731
    assert torch.autograd.gradcheck(weighted, potentials)
    monkeypatch.setattr(crf_nats, "_chances", lambda *_: None)
    assert torch.autograd.gradcheck(weighted, potentials)


def test_a_gradient_of_the_gradient_is_refused():
    potentials = potentials_of(3).requires_grad_()
    nats = step_nats(potentials, LENGTHS, torch.zeros(B, T).long()).sum()
    with pytest.raises(RuntimeError, match="no gradient of its own"):
        torch.autograd.grad(nats, potentials, create_graph=True)


def test_a_batch_without_sequences_has_no_nats():
    none, lengths = potentials_of(3)[:0].requires_grad_(), LENGTHS[:0]
    nats = step_nats(none, lengths, torch.zeros(0, T).long())
    assert nats.shape == (0, T)
    assert torch.autograd.grad(nats.sum(), none)[0].shape == none.shape


def test_long_sequences_lose_no_digits_in_float32():
    length = torch.tensor([3000])
    potentials = 50 + 5 * torch.randn(1, 3000, 5, 5)
    y = torch.randint(0, 5, (1, 3000))
    single = potentials.float()
    exact = log_likelihood(potentials, length, y)
    assert abs(log_likelihood(single, length, y) - exact) < 1e-6 * abs(exact)
    assert_close(
        marginals(single, length).double(), marginals(potentials, length), atol=1e-5, rtol=0
    )
    total = marginals(single, length).sum(dim=-1)
    assert_close(total, torch.ones_like(total), rtol=0, atol=5e-7)
    near = (50 + (potentials - 50) / 100).float()  # whose best is not much better
    assert torch.equal(viterbi(near, length), viterbi(near.double(), length))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    potentials, y = potentials_of(3).to(dtype), torch.randint(0, 3, (B, T))
    log_p = log_likelihood(potentials, LENGTHS, y)
    assert log_p.dtype == torch.float32
    assert_close(log_p, log_likelihood(potentials.float(), LENGTHS, y), rtol=0, atol=0)
    bound = constrained(potentials, LENGTHS, rules(3))  # FORBIDDEN is no number of float16
    assert_close(bound, constrained(potentials.float(), LENGTHS, rules(3)), rtol=0, atol=0)


def test_a_head_adds_up_what_is_said_of_tags_of_pairs_and_of_the_ends(randomise):
    head = randomise(CRFHead(2, 3))
    x = torch.randn(B, T, 2)
    said = x @ head.output.weight.T + head.output.bias
    potentials = head(x, LENGTHS)
    for b, n in enumerate(LENGTHS.tolist()):
        for t, i, j in itertools.product(range(n), range(3), range(3)):
            wanted = said[b, t, j] + (head.start[j] if t == 0 else head.transitions[i, j])
            wanted = wanted + (head.end[j] if t == n - 1 else 0.0)
            assert_close(potentials[b, t, i, j], wanted)


def test_layers_in_between_stand_below_the_scores(randomise):
    deep = randomise(CRFHead(2, 3, hidden=[4], activation="tanh"))
    x = torch.randn(B, T, 2)
    between = torch.tanh(x @ deep.layers[0].weight.T + deep.layers[0].bias)
    said = between @ deep.output.weight.T + deep.output.bias
    assert_close(deep(x, LENGTHS), deep.potentials(said, LENGTHS))


def test_an_untrained_head_knows_nothing_of_the_order_of_tags():
    head, y = CRFHead(2, 3), torch.randint(0, 3, (B, T))
    said = torch.randn(B, T, 3)
    log_p = log_likelihood(head.potentials(said, LENGTHS), LENGTHS, y)
    each = said.log_softmax(dim=-1).gather(-1, y.unsqueeze(-1)).squeeze(-1)
    real = torch.arange(T) < LENGTHS.unsqueeze(1)
    assert_close(log_p, (each * real).sum(dim=1))


@pytest.mark.gpu
def test_a_gpu_has_the_answers_and_gradients_of_the_cpu():
    allowed, y, found = rules(4), torch.zeros(B, T, dtype=torch.int64), []
    for device in ("cpu", "cuda"):
        free = potentials_of(4).to(device).requires_grad_()
        potentials = constrained(free, LENGTHS, allowed)  # lengths and rules where they were
        log_p = log_likelihood(potentials, LENGTHS.to(device), y.to(device))
        (gradient,) = torch.autograd.grad(log_p.sum(), free)
        answers = [marginals(potentials, LENGTHS), viterbi(potentials, LENGTHS)]
        found.append([part.cpu() for part in (log_p, gradient, *answers)])
    assert_close(*found)
