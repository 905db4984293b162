"""A recurrent network that writes: an LSTM of 128 units learns a text, character by character.

`--text FILE` reads a text of one's own; by default it is "Coriolanus", which comes along. The last
tenth is kept for validation. Samples are printed and written to samples.txt.

    python experiments/char_lstm.py

Result: on "Coriolanus" 1.725 nats per character of the validation part after 1,000 steps (15
passes), 48.5 % of its characters right, 2.2 minutes on two busy cores. PyTorch's network of the same
weights over the same batches has the same training loss, 1.624 over the last 100 steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

import fnn
from fnn import pictures
from fnn.experiment import Run, main, option


@attrs.frozen
class Config:
    """What can be set from the command line."""

    text: Path | None = option(None, "file with a text in UTF-8; the bundled play by default")
    steps: int = option(1000, "training steps, rounded to whole passes over the text", least=1)
    batch_size: int = option(32, "windows per step", least=1)
    length: int = option(64, "characters of a window", least=1)
    units: int = option(128, "width of the LSTM", least=1)
    width: int = option(64, "width of the embedding", least=1)
    learning_rate: float = option(0.003, "step size of Adam", least=0)
    sample: int = option(300, "characters of each sample", least=0)
    temperature: float = option(0.8, "how evenly samples are drawn", least=0)
    seed: int = option(0, "where all randomness comes from")
    out: Path = option(Path("out/char_lstm"), "folder for the picture and the samples")


def network(config: Config, n: int) -> fnn.Layer:
    """Return the network; its outputs are the scores of the next of n characters."""
    return fnn.serial(fnn.Embedding(n, config.width), fnn.LSTM(config.units), fnn.Dense(n))


def read(config: Any, run: Run) -> tuple[fnn.Characters, fnn.Dataset, fnn.Dataset]:
    """Return the codec, and windows of the text for training and for validation."""
    if config.text is None:
        train_text, test_text = fnn.coriolanus("train"), fnn.coriolanus("test")
        source = "Text: Coriolanus, which comes along"
    else:
        text = config.text.read_text("utf-8")
        cut = len(text) * 9 // 10
        train_text, test_text = text[:cut], text[cut:]
        source = f"Text: {config.text.name}"
    codec = fnn.Characters.fit(train_text + test_text)
    sets = [fnn.text_windows(codec.encode(each), config.length) for each in (train_text, test_text)]
    run.data(f"{source}, {len(codec)} different characters", train=sets[0], test=sets[1])
    return codec, sets[0], sets[1]


def learn(network: Any, config: Any, run: Run) -> dict[str, Any]:
    """Train `network(config, n)` on the text, print samples, and return what was reached."""
    pictures.require()
    codec, train_set, test_set = read(config, run)
    net = network(config, len(codec))
    epochs = max(1, round(config.steps * config.batch_size / len(train_set)))
    run.used(epochs=epochs)
    fit = run.fit(
        net,
        fnn.softmax_cross_entropy,
        fnn.chain(fnn.clip_by_global_norm(1.0), fnn.adam(config.learning_rate)),
        train_set,
        epochs=epochs,
        batch_size=config.batch_size,
        key=fnn.Key.of(config.seed),
        validation=test_set,
        metrics=fnn.accuracy,
        line="epoch {epoch:3d}  loss {loss:.3f}  validation {validation_loss:.3f}",
    )
    kept = run.keep(net, fit.last, train_set.in_shape, codec=codec)
    history, last = fit.history, fit.last
    pictures.curves(
        run.path("loss.png"),
        {"training": history["loss"], "validation": history["validation_loss"]},
        title="Loss",
        ylabel="cross-entropy / nats per character",
    )
    prompt = codec.encode("\n") if "\n" in codec.characters else train_set.x[0, :1]
    tokens = fnn.generate(
        net,
        last.params,
        last.state,
        prompt,
        steps=config.sample,
        key=fnn.Key.of(config.seed).fold("sample"),
        temperature=config.temperature,
        window=config.length,
    )
    text = codec.decode(tokens)
    run.path("samples.txt").write_text(text, "utf-8")
    run.say(text)
    return {
        "loss": history["loss"][-1],
        "validation_loss": history["validation_loss"][-1],
        "validation_accuracy": history["validation_accuracy"][-1],
        **kept,
    }


def train(config: Config, run: Run) -> dict[str, Any]:
    """Learn the text with the network above."""
    return learn(network, config, run)


if __name__ == "__main__":
    main(train, Config)
