"""generate and stream against a loop that keeps no cache, and the promises they make about rows, seeds and caches."""

import math
from collections import Counter

import pytest
import torch

from minimistral import ModelConfig, MoEConfig, Transformer, generate, generation, stream

torch.set_num_threads(1)  # matrices of this size only make a second thread wait

PROMPTS = [[1, 5, 6], [3] * 17, [7], [9, 8, 4, 5] * 3]
KINDS = {
    "dense": {},
    "window": {"sliding_window": 5},
    "window of one": {"sliding_window": 1},
    "mixture with a window": {"sliding_window": 3, "moe": MoEConfig(num_experts=4, num_experts_per_tok=2)},
    "tied": {"tie_embeddings": True},
}


def random_model(seed=0, **changes):
    torch.manual_seed(seed)
    sizes = dict(dim=24, n_layers=3, n_heads=6, n_kv_heads=2, head_dim=10, hidden_dim=40, vocab_size=37)
    return Transformer(ModelConfig(**sizes | changes))


@pytest.fixture(params=KINDS, ids=lambda kind: kind)
def model(request):
    return random_model(**KINDS[request.param])


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(generation, "PREFILL_CHUNK", 4)


@torch.no_grad()
def slow_greedy(model, ids, max_new_tokens, stop_ids=(2,)):
    """The definition: read everything again for every token."""
    new = []
    while len(new) < max_new_tokens:
        token_id = int(model(torch.tensor([ids + new]))[0, -1].argmax())
        if token_id in stop_ids:
            break
        new.append(token_id)
    return new


def test_greedy_tokens_are_those_of_a_loop_without_a_cache(model, small_chunks):
    expected = [slow_greedy(model, ids, 25) for ids in PROMPTS]
    assert generate(model, PROMPTS, max_new_tokens=25) == expected
    assert [list(stream(model, ids, max_new_tokens=25)) for ids in PROMPTS] == expected


def test_the_size_of_the_prefill_chunks_changes_nothing(model, monkeypatch):
    whole = generate(model, PROMPTS, max_new_tokens=12, stop_ids=())
    for chunk in (1, 2, 3, 5, 16):
        monkeypatch.setattr(generation, "PREFILL_CHUNK", chunk)
        assert generate(model, PROMPTS, max_new_tokens=12, stop_ids=()) == whole


def test_a_row_in_a_batch_is_what_it_is_alone(model, small_chunks):
    together = generate(model, PROMPTS, max_new_tokens=20)
    assert together == [generate(model, [ids], max_new_tokens=20)[0] for ids in PROMPTS]
    assert len({tuple(row) for row in together}) > 1, "all rows are the same: this test proves nothing"


def test_a_drawn_row_in_a_batch_is_what_it_is_alone_with_seed_plus_its_number(model, small_chunks):
    options = dict(max_new_tokens=30, temperature=1.3, top_p=0.95, top_k=30, stop_ids=(2, 3, 4))
    together = generate(model, PROMPTS, seed=5, **options)
    assert together == [generate(model, [ids], seed=5 + i, **options)[0] for i, ids in enumerate(PROMPTS)]
    assert together == [list(stream(model, ids, seed=5 + i, **options)) for i, ids in enumerate(PROMPTS)]
    assert len({len(row) for row in together}) > 1, "all rows end together: this test proves nothing about stops"


def test_a_seed_repeats_and_another_seed_differs():
    model = random_model()
    first, again, other = (generate(model, [[1]], 40, temperature=1.0, seed=seed, stop_ids=()) for seed in (3, 3, 4))
    assert first == again != other


def test_without_a_seed_every_call_differs_and_torch_s_own_generator_is_left_alone():
    model = random_model()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert generate(model, [[1]], 40, temperature=1.0) != generate(model, [[1]], 40, temperature=1.0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_stop_id_ends_its_row_and_is_not_returned():
    model = random_model()
    free = generate(model, PROMPTS, max_new_tokens=12, stop_ids=())
    stop = free[0][4]
    expected = [row[: row.index(stop)] if stop in row else row for row in free]
    assert generate(model, PROMPTS, max_new_tokens=12, stop_ids=(stop,)) == expected
    assert generate(model, PROMPTS, max_new_tokens=12, stop_ids=stop) == expected
    assert list(stream(model, PROMPTS[0], max_new_tokens=12, stop_ids=iter([stop]))) == expected[0]
    assert len(expected[0]) < 12


def test_nothing_to_do_gives_nothing():
    model = random_model()
    assert generate(model, []) == []
    assert generate(model, [[1], [2, 3]], max_new_tokens=0) == [[], []]
    assert list(stream(model, [1], max_new_tokens=0)) == []


def calls_of(model):
    """A list that fills with the (B, T) of every call, and one with what reaches the head."""
    calls, heads = [], []
    model.tok_embeddings.register_forward_hook(lambda module, args, out: calls.append(tuple(args[0].shape)))
    model.norm.register_forward_hook(lambda module, args, out: heads.append(tuple(args[0].shape)))
    return calls, heads


def test_prompts_are_read_in_chunks_and_the_head_sees_only_last_tokens(small_chunks):
    model = random_model(sliding_window=5)
    calls, heads = calls_of(model)
    generate(model, PROMPTS, max_new_tokens=3, stop_ids=())
    # 17 tokens in chunks of 4; rows of 3 and 1 tokens take part in the first, the row of 12 in three.
    assert calls == [(4, 4), (2, 4), (2, 4), (1, 4), (1, 1), (4, 1), (4, 1)]
    assert all(n_tokens == 1 for _, n_tokens, _ in heads)


def test_finished_rows_cost_the_others_nothing():
    model = random_model()
    free = generate(model, PROMPTS, max_new_tokens=12, stop_ids=())
    stop = free[0][4]
    ends = [row.index(stop) if stop in row else 12 for row in free]
    calls, _ = calls_of(model)
    generate(model, PROMPTS, max_new_tokens=12, stop_ids=(stop,))
    assert min(ends) < max(ends)
    assert [rows for rows, _ in calls[1:]] == [sum(end > step for end in ends) for step in range(min(11, max(ends)))]


def test_a_long_prompt_takes_the_cache_of_a_window_and_no_more(monkeypatch):
    model = random_model(sliding_window=8)
    sizes = []
    make_cache = model.make_cache
    monkeypatch.setattr(model, "make_cache", lambda *args: sizes.append(make_cache(*args).nbytes) or make_cache(*args))
    generate(model, [[1] * 10], max_new_tokens=1)
    generate(model, [[1] * 3000], max_new_tokens=1)
    assert sizes[0] == sizes[1]


def test_what_is_not_the_library_s_stays_as_it_was():
    model = random_model().train()
    ids = [1, 2, 3]
    tokens = stream(model, ids, max_new_tokens=3)
    next(tokens)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    generate(model, [ids])
    assert model.training and ids == [1, 2, 3]


@pytest.mark.parametrize("n_taken", [1, 4, 9])
@pytest.mark.parametrize("ends_by", ["limit", "break"])
def test_after_a_stream_the_cache_holds_the_ids_and_what_was_yielded(model, n_taken, ends_by, small_chunks):
    cache, ids = model.make_cache(1, 64), [1, 9, 8, 7, 6]
    taken = []
    for token_id in stream(model, ids, max_new_tokens=n_taken if ends_by == "limit" else 30, cache=cache, stop_ids=()):
        taken.append(token_id)
        assert cache.position == len(ids) + len(taken)
        if len(taken) == n_taken:
            break
    with torch.no_grad():
        continued = model(torch.tensor([[11]]), cache=cache)[0, -1]
        at_once = model(torch.tensor([ids + taken + [11]]))[0, -1]
    torch.testing.assert_close(continued, at_once, rtol=1e-4, atol=1e-5)


def test_a_chat_through_one_cache_says_what_it_says_from_the_start(model, small_chunks):
    first_turn, second_turn = [1, 9, 8, 7, 6], [2, 12, 13]
    stop = slow_greedy(model, first_turn, 8, stop_ids=())[5]
    cache = model.make_cache(1, 64)
    reply = list(stream(model, first_turn, 30, cache=cache, stop_ids=(stop,)))
    assert cache.position == len(first_turn) + len(reply)  # the stop id is not in it
    answer = list(stream(model, second_turn, 8, cache=cache, stop_ids=()))
    assert answer == slow_greedy(model, first_turn + reply + second_turn, 8, stop_ids=())


def test_a_stream_that_nobody_asks_leaves_its_cache_empty():
    model = random_model()
    cache = model.make_cache(1, 64)
    stream(model, [1, 2], cache=cache, max_new_tokens=5)
    assert cache.position == 0


NOT_A_STREAM = [
    (dict(prompts="Hello"), "list of lists"),
    (dict(prompts=torch.tensor([[1, 2]])), "list of lists"),
    (dict(prompts=[1, 2, 3]), r"write \[ids\]"),
]
BAD = [
    (dict(prompts=[[1], []]), "at least bos"),
    (dict(prompts=[torch.tensor([1])]), r"\.tolist"),
    (dict(prompts=["Hello"]), "encode"),
    (dict(prompts=[[1, 37]]), "0 to 36"),
    (dict(prompts=[[-1]]), "0 to 36"),
    (dict(prompts=[[1.0]]), r"1\.0 at position 0"),
    (dict(prompts=[[1, True]]), "True at position 1"),
    (dict(max_new_tokens=-1), "max_new_tokens"),
    (dict(max_new_tokens=2.5), "max_new_tokens"),
    (dict(temperature=-0.1), "temperature"),
    (dict(temperature=math.nan), "temperature"),
    (dict(temperature=math.inf), "temperature"),
    (dict(temperature="hot"), "temperature"),
    (dict(top_p=0.0), "top_p"),
    (dict(top_p=1.1), "top_p"),
    (dict(top_p=math.nan), "top_p"),
    (dict(top_k=0), "top_k"),
    (dict(top_k=1.5), "top_k"),
    (dict(seed=-1), "seed"),
    (dict(seed=1.5), "seed"),
    (dict(stop_ids=(2.0,)), "stop"),
    (dict(stop_ids="2"), "stop"),
    (dict(stop_ids=None), "stop"),
]


@pytest.mark.parametrize("arguments, message", NOT_A_STREAM + BAD)
def test_generate_says_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(random_model(), **dict(prompts=[[1]]) | arguments)


@pytest.mark.parametrize("arguments, message", BAD)
def test_stream_says_what_is_wrong_when_it_is_called(arguments, message):
    arguments = dict(prompts=[[1]]) | arguments
    with pytest.raises(ValueError, match=message):
        stream(random_model(), arguments.pop("prompts")[-1], **arguments)


def test_a_cache_that_does_not_fit_is_refused_before_anything_is_written():
    model = random_model()
    cache = model.make_cache(1, 20)
    list(stream(model, [1] * 8, 4, cache=cache, stop_ids=()))
    with pytest.raises(ValueError, match="Lower max_new_tokens"):
        stream(model, [1] * 4, 5, cache=cache)
    assert cache.position == 12
    assert len(list(stream(model, [1] * 4, 4, cache=cache, stop_ids=()))) == 4
    with pytest.raises(ValueError, match="batch size"):
        stream(model, [1], cache=model.make_cache(2, 90))
    with pytest.raises(ValueError, match="config"):
        stream(model, [1], cache=random_model(sliding_window=4).make_cache(1, 90))


def test_with_a_rolling_window_a_cache_never_fills():
    model = random_model(sliding_window=5)
    cache = model.make_cache(1, 5)
    assert list(stream(model, [1] * 8, 40, cache=cache, stop_ids=())) == slow_greedy(model, [1] * 8, 40, stop_ids=())


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_broken_weights_are_named_not_sampled(value, temperature):
    model = random_model()
    with torch.no_grad():
        model.output.weight[5] = value
    with pytest.raises(ValueError, match="no next token"):
        generate(model, [[1]], temperature=temperature)


def test_numpy_integers_are_token_ids():
    numpy = pytest.importorskip("numpy")
    model = random_model()
    assert generate(model, [list(numpy.array([1, 5]))], 5) == generate(model, [[1, 5]], 5)


def test_tokens_are_drawn_as_often_as_their_probability_says():
    model = random_model(vocab_size=7)
    with torch.no_grad():
        probability = (model(torch.tensor([[1]]))[0, -1] / 0.5).softmax(-1)
    drawn = Counter(row[0] for row in generate(model, [[1]] * 4000, 1, temperature=0.5, seed=0, stop_ids=()))
    shares = torch.tensor([drawn[token_id] / 4000 for token_id in range(7)])
    torch.testing.assert_close(shares, probability, rtol=0, atol=0.03)  # four standard errors of the worst case
