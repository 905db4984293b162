"""The networks of text beside PyTorch's, from equal weights over equal batches; and `generate`."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import attrs
import numpy as np
import pytest

import fnn
from fnn import DataError, DTypeError, Key, OptionError, ShapeError

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"


@pytest.fixture(params=["char_lstm", "char_transformer"])
def script(request, monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module(request.param)


def torch_lstm(torch, params):
    class Twin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            e, own, head = (params[name] for name in ("embedding_0", "lstm_0", "dense_0"))
            self.embed = torch.nn.Embedding(*e["w"].shape)
            self.lstm = torch.nn.LSTM(e["w"].shape[1], own["w_state"].shape[0], batch_first=True)
            self.head = torch.nn.Linear(*head["w"].shape)
            put(torch, self.embed.weight, e["w"])
            put(torch, self.lstm.weight_ih_l0, own["w_in"].T)
            put(torch, self.lstm.weight_hh_l0, own["w_state"].T)
            put(torch, self.lstm.bias_ih_l0, own["b"])
            put(torch, self.lstm.bias_hh_l0, 0 * own["b"])
            self.lstm.bias_hh_l0.requires_grad_(False)
            put(torch, self.head.weight, head["w"].T)
            put(torch, self.head.bias, head["b"])

        def forward(self, x):
            return self.head(self.lstm(self.embed(x))[0])

    return Twin()


def torch_transformer(torch, params):
    width = params["embedding_0"]["w"].shape[1]
    length = params["learned_positions_0"]["w"].shape[0]
    n_blocks = sum(name.startswith("transformer_block") for name in params)

    class Twin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(*params["embedding_0"]["w"].shape)
            self.places = torch.nn.Parameter(torch.tensor(params["learned_positions_0"]["w"]))
            self.blocks = torch.nn.ModuleList(
                torch.nn.TransformerEncoderLayer(
                    width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
                )
                for _ in range(n_blocks)
            )
            self.norm = torch.nn.LayerNorm(width)
            self.head = torch.nn.Linear(*params["dense_0"]["w"].shape)
            self.hides = torch.nn.Transformer.generate_square_subsequent_mask(length)
            put(torch, self.embed.weight, params["embedding_0"]["w"])
            put(torch, self.norm.weight, params["layer_norm_0"]["scale"])
            put(torch, self.norm.bias, params["layer_norm_0"]["shift"])
            put(torch, self.head.weight, params["dense_0"]["w"].T)
            put(torch, self.head.bias, params["dense_0"]["b"])
            for i, block in enumerate(self.blocks):
                own = params[f"transformer_block_{i}"]
                heads = own["attention"]
                parts = [heads[f"w_{each}"].T for each in "qkv"]
                put(torch, block.self_attn.in_proj_weight, np.concatenate(parts))
                zero = 0 * heads["b_q"]
                b = np.concatenate([heads["b_q"], zero, heads["b_v"]])
                put(torch, block.self_attn.in_proj_bias, b)
                put(torch, block.self_attn.out_proj.weight, heads["w_o"].T)
                put(torch, block.self_attn.out_proj.bias, heads["b_o"])
                for name, norm in (("norm_1", block.norm1), ("norm_2", block.norm2)):
                    put(torch, norm.weight, own[name]["scale"])
                    put(torch, norm.bias, own[name]["shift"])
                for name, linear in (("dense_0", block.linear1), ("dense_1", block.linear2)):
                    put(torch, linear.weight, own["mlp"][name]["w"].T)
                    put(torch, linear.bias, own["mlp"][name]["b"])

        def forward(self, x):
            h = self.embed(x) + self.places
            for block in self.blocks:
                h = block(h, src_mask=self.hides, is_causal=True)
            return self.head(self.norm(h))

    return Twin()


def put(torch, into, value):
    with torch.no_grad():
        into.copy_(torch.tensor(np.ascontiguousarray(value)))


def both(script, steps, **options):
    """Return the losses of both over the same batches, and the seconds that each took."""
    torch = pytest.importorskip("torch")
    config = attrs.evolve(script.Config(), **options)
    text = fnn.coriolanus("train")
    codec = fnn.Characters.fit(text)
    data = fnn.text_windows(codec.encode(text), config.length)
    net = script.network(config, len(codec))
    optimizer = fnn.chain(fnn.clip_by_global_norm(1.0), fnn.adam(config.learning_rate))
    now = fnn.init_train_state(net, optimizer, data.in_shape, Key.of(0))
    make = torch_lstm if script.__name__ == "char_lstm" else torch_transformer
    twin = make(torch, now.params)
    theirs = [p for p in twin.parameters() if p.requires_grad]
    adam = torch.optim.Adam(theirs, config.learning_rate)
    step = fnn.jit(fnn.train_step(net, fnn.softmax_cross_entropy, optimizer))
    batches = []
    epoch = 0
    while len(batches) < steps:
        key = Key.of(1).fold(epoch)
        batches += list(fnn.batches(data, config.batch_size, key=key, drop_last=True))
        epoch += 1
    losses, seconds = ([], []), [0.0, 0.0]
    start = time.perf_counter()
    for x, y in batches[:steps]:
        now, logs = step(now, (x, y))
        losses[0].append(float(logs["loss"]))
    seconds[0] = time.perf_counter() - start
    start = time.perf_counter()
    for x, y in batches[:steps]:
        adam.zero_grad()
        out = twin(torch.tensor(x))
        loss = torch.nn.functional.cross_entropy(
            out.reshape(-1, out.shape[-1]), torch.tensor(y).reshape(-1)
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        adam.step()
        losses[1].append(float(loss.detach()))
    seconds[1] = time.perf_counter() - start
    return [np.array(each) for each in losses], seconds


def test_the_first_steps_go_where_torch_goes(script):
    (ours, theirs), _ = both(script, 6, batch_size=8, length=16)
    np.testing.assert_allclose(ours, theirs, rtol=2e-4)
    assert ours[-1] < ours[0]


@pytest.mark.slow
def test_after_a_thousand_steps_the_loss_is_that_of_torch_within_two_percent(script, capsys):
    (ours, theirs), seconds = both(script, 1000)
    ends = [float(each[-100:].mean()) for each in (ours, theirs)]
    with capsys.disabled():
        line = f"{script.__name__}: loss {ends[0]:.3f} beside {ends[1]:.3f}"
        sys.stdout.write(
            f"\n{line}, {seconds[0]:.1f} s beside {seconds[1]:.1f}: {seconds[0] / seconds[1]:.2f}\n"
        )
    assert abs(ends[0] / ends[1] - 1) < 0.02


# --- generate -----------------------------------------------------------------------------------


@fnn.constructor
def Next(n):
    """Score the token after each as its own number plus 1."""

    def shapes(in_shape):
        return (*in_shape, n), {}, {}

    def fwd(params, state, x, train, key):
        return np.float32(50) * np.eye(n, dtype="float32")[(x + 1) % n], state, lambda dy: ({}, None)

    return fnn.make_layer("next", shapes, fwd, traits=fnn.Traits(takes_integers=True))


@fnn.constructor
def Even(n):
    """Score all tokens alike."""

    def shapes(in_shape):
        return (*in_shape, n), {}, {}

    def fwd(params, state, x, train, key):
        return np.zeros((*x.shape, n), "float32"), state, lambda dy: ({}, None)

    return fnn.make_layer("even", shapes, fwd, traits=fnn.Traits(takes_integers=True))


def test_what_is_sure_goes_on_and_on():
    for temperature in (0.0, 1.0):
        made = fnn.generate(Next(5), {}, {}, [3], steps=4, key=Key.of(0), temperature=temperature)
        np.testing.assert_array_equal(made, [3, 4, 0, 1, 2])
    two = np.array([[0, 1], [3, 4]], "int32")
    made = fnn.generate(Next(5), {}, {}, two, steps=2, key=Key.of(0), window=1)
    np.testing.assert_array_equal(made, [[0, 1, 2, 3], [3, 4, 0, 1]])
    assert made.dtype == np.int32
    np.testing.assert_array_equal(fnn.generate(Next(5), {}, {}, [3], steps=0, key=Key.of(0)), [3])


def test_tokens_are_drawn_with_their_probabilities_and_equal_keys_draw_equal_ones():
    prompt = np.zeros((6000, 1), int)
    made = [fnn.generate(Even(4), {}, {}, prompt, steps=2, key=Key.of(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0] != made[2]).any()
    counts = np.bincount(made[0][:, 1:].reshape(-1), minlength=4) / 12000
    np.testing.assert_allclose(counts, 0.25, atol=5 * np.sqrt(0.25 * 0.75 / 12000))
    top = fnn.generate(Next(5), {}, {}, prompt, steps=1, key=Key.of(0), temperature=1e3, top_k=1)
    assert set(top[:, 1]) == {1}


@pytest.mark.parametrize(
    ("net", "prompt", "given", "error", "message"),
    [
        (Next(5), [], {}, DataError, "^generate: prompt: expected one token or more, got none"),
        (Next(5), [0.5], {}, DTypeError, "^generate: prompt: expected tokens as integers, got float64"),
        (Even(300), np.array([1], "uint8"), {}, DTypeError,
         "^generate: prompt: expected a dtype that holds all 300 tokens, got uint8"),
        (Next(5), [[[1]]], {}, ShapeError, r"prompt: expected \(time,\) or \(batch, time\)"),
        (Next(5), [1], {"steps": -1}, OptionError, "^generate: steps: expected 0 or more, got -1"),
        (Next(5), [1], {"temperature": -1}, OptionError, "^generate: temperature: expected a number"),
        (Next(5), [1], {"top_k": 0}, OptionError, "^generate: top_k: expected 1 or more, got 0"),
        (Next(5), [1], {"window": 0}, OptionError, "^generate: window: expected 1 or more, got 0"),
        (Next(5), [1], {"key": 3}, OptionError, "expected a Key, got 3"),
        (fnn.serial(fnn.Embedding(5, 2)), [7], {}, DataError, "expected tokens of 0 to 4, got 7 at"),
        (fnn.serial(fnn.Embedding(5, 2), fnn.Flatten()), [1], {}, ShapeError,
         r"^generate: expected scores of shape \(1, 1, n\), got \(1, 2\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_continued_is_refused(net, prompt, given, error, message):
    params = net.init(Key.of(0), (1,))[1]
    with pytest.raises(error, match=message):
        fnn.generate(net, params, {}, prompt, **{"steps": 1, "key": Key.of(0), **given})
