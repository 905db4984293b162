"""A run's folder as `train` sees it: what it says, records, saves and takes up again."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.datasets.dataset import Dataset
from fnn.errors import DataError, OptionError
from fnn.files import limit, make_folder, present, replacing, shown, write_line
from fnn.kernels.values import named_arrays
from fnn.keys import Key
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.losses.reduction import Loss
from fnn.optimizers.transform import Transform
from fnn.options import integer
from fnn.runs.checkpoint import Checkpoints, save_model, save_tree
from fnn.runs.checkpoint.models import model_tree
from fnn.runs.config import plain
from fnn.runs.experiment.codecs import CODEC, Codec, write_codec
from fnn.runs.experiment.conditions import blas
from fnn.runs.experiment.folders import METRICS, RUN, Lines, append, holds
from fnn.runs.experiment.lock import Held
from fnn.runs.experiment.network_table import network_table
from fnn.runs.experiment.program import Program
from fnn.runs.experiment.saver import EVERY, Saver, save_epoch
from fnn.runs.experiment.wording import as_line, as_words, folder_of, name_of
from fnn.training.history import Callback
from fnn.training.loop import Fit, History, fit
from fnn.training.progress import Progress
from fnn.training.state import TrainState, cast, init_train_state

MODEL = "model.npz"
"""The file of a run's folder that holds its trained network."""
EVALUATION = "evaluation.npz"
"""What it says of its test set."""


@attrs.frozen
class Run:
    """A run's folder, to which `train` reports.

    Attributes:
        folder: Where everything goes.
        resumed: Whether earlier work of this run is taken up again.
        about: What run.json says; `note` adds to it.
    """

    folder: Path
    resumed: bool = False
    about: dict[str, Any] = attrs.field(factory=dict, repr=False)
    _held: Held | None = attrs.field(default=None, repr=False, eq=False)
    _program: Program | None = attrs.field(default=None, repr=False, eq=False)
    _metrics: Lines = attrs.field(init=False, repr=False, eq=False)
    # One entry per fit that began, True while it lasts.
    _fits: list[bool] = attrs.field(factory=list, init=False, repr=False, eq=False)

    @_metrics.default
    def _open_metrics(self) -> Lines:
        return Lines(self.folder / METRICS, again=self.resumed, check=self._check)

    def _check(self) -> None:
        """Raise DataError if the folder is gone or another's: asked before every write."""
        if self._held is not None:
            self._held.check()

    def say(self, text: str) -> None:
        """Print a line at once, and keep it in log.txt; control characters are shown escaped.

        Raises:
            DataError: If the file system refuses.
        """
        text = shown(text, lines=True)
        write_line(text)
        self._check()
        append(self.folder / "log.txt", text + "\n")

    def record(self, **numbers: Any) -> None:
        """Add a line of JSON to metrics.jsonl, e.g. `run.record(epoch=3, loss=0.1)`.

        NaN and infinities become the texts "nan", "inf" and "-inf".

        Raises:
            OptionError: If a value is no number, text or list of those; or while `fit` runs, whose
                lines these are: give it `metrics`, or record before or after it.
            DataError: If the file system refuses.
        """
        if any(self._fits):
            # On resume nobody could tell to which epoch it belongs.
            raise OptionError("Run.record: expected before or after Run.fit, got a call within it")
        self._metrics.add(as_line(numbers))

    def note(self, **entries: Any) -> None:
        """Set entries of run.json.

        Raises:
            OptionError: If a value is neither a number, text, None nor made of those.
            DataError: If the file system refuses.
        """
        self.about.update(plain(entries))
        if self._program is not None:
            self._program.look()
        if "format" in self.about:
            content = json.dumps(self.about, indent=2, allow_nan=False).encode() + b"\n"
            if len(content) > limit("run"):
                most = f"at most {limit('run'):,} bytes in {RUN}, got {len(content):,}"
                raise OptionError(f"Run.note: expected {most} ($FNN_LIMITS allows more)")
            self._check()
            with replacing(self.folder / RUN, within=self.folder) as file:
                file.write(content)

    def used(self, **options: Any) -> None:
        """Note what options came to, e.g. `run.used(device="cpu")` for one that was left open.

        A report shows it beside the config. `Run.fit` does so for its own options.

        Raises:
            OptionError: If a value is neither a number, text, None nor made of those.
            DataError: If the file system refuses.
        """
        known = self.about.get("used")
        self.note(used={**(known if isinstance(known, dict) else {}), **options})

    def data(self, source: str | None = None, /, **sets: Dataset) -> None:
        """Note the digests of data sets, e.g. `run.data(train=train_set, test=test_set)`.

        Args:
            source: A line that says what they are and where from; it is said, and a report begins
                with it. `fnn.mnist_or_digits` returns one.
            **sets: The data sets by name. A report calls the validation set of `Run.fit` by its
                name here, e.g. "test".

        Raises:
            DataError: If the run is resumed and these are not the data that it began with.
        """
        if source is not None:
            self.say(source)
        digests = {name: data.digest() for name, data in sets.items()}
        known = self.about.get("data") or {}
        for name, digest in digests.items():
            if self.resumed and known.get(name, digest) != digest:
                expected = f"the data that the run began with, sha256 {known[name][:12]}"
                raise DataError(f"{self.folder}: {name}: expected {expected}, got {digest[:12]}")
        self.note(data={**known, **digests}, **({} if source is None else {"source": source}))

    def epoch(self, now: TrainState, history: History) -> None:
        """Record an epoch and say it in a line: a callback for `fnn.fit`; `Run.fit` has its own."""
        self.record(**history[-1])
        self.say(as_words(history[-1]))

    def fit(
        self,
        net: Layer,
        loss: Loss,
        optimizer: Transform,
        train: Dataset,
        *,
        epochs: int,
        batch_size: int,
        key: Key,
        callbacks: Callback | Iterable[Callback] = (),
        say_every: int = 1,
        line: str | None = None,
        save_seconds: float = 5.0,
        keep_epochs: int | None = None,
        **more: Any,
    ) -> Fit:
        """Train with `fnn.fit`, record every epoch, save checkpoints, and go on from the newest one.

        What is saved, and when, changes no number. Several fits of one run keep theirs apart, in
        the order in which they begin.

        Args:
            net: As for `fnn.fit`, like `loss`, `optimizer`, `train`, `epochs`, `batch_size`, `key`,
                `callbacks` and `more`.
            loss: See there.
            optimizer: See there.
            train: See there.
            epochs: See there.
            batch_size: See there.
            key: See there.
            callbacks: See there; called after the epoch is recorded.
            say_every: Epochs between two that are said; the first and the last always are.
            line: How an epoch is said, e.g. "epoch {epoch:4d}  loss {loss:.4f}"; all columns without.
            save_seconds: Time between two checkpoints, longer where saving takes long; 0 saves at
                every opportunity.
            keep_epochs: Epochs between two whose weights stay in the folder, in epochs/, for
                `python -m fnn.demo` to step through; None keeps none.
            **more: See there: validation, metrics, monitor, mode, plateau, drop_last, progress, watch.

        Raises:
            KeyboardInterrupt: If Ctrl-C or SIGTERM ended it; what it had reached is saved.
            DataError: If the file system refuses, or the checkpoints are of another training.
            DivergedError, OptionError, ShapeError, DTypeError: As `fnn.fit`.
        """
        keep_epochs = None if keep_epochs is None else integer("Run.fit", "keep_epochs", keep_epochs)
        told: dict[str, Any] = {"loss": name_of(loss), "optimizer": name_of(optimizer)}
        told |= {"epochs": epochs, "batch_size": batch_size}
        told |= {"validation": self._named(more.get("validation"))}
        if more.get("augment") is not None:
            told["augment"] = name_of(more["augment"])
        known = self.about.get("fits")
        fits = [*(known if isinstance(known, list) else [])[: len(self._fits)], told]
        # BLAS is asked anew: a script may have set the threads since it began.
        self.note(fits=fits, blas=blas(), network=repr(net), layers=network_table(net, train.in_shape))
        self._fits.append(True)
        number = len(self._fits)
        checkpoints = Checkpoints(self.path(folder_of("checkpoints", number)), within=self.folder)
        start = None
        if self.resumed:
            like = init_train_state(net, optimizer, train.in_shape, key)
            dtype = more.get("dtype")
            start = checkpoints.latest(like=like if dtype is None else cast(like, dtype))
            self._take_up(
                start,
                checkpoints.skipped,
                last=not holds(self.folder, folder_of("checkpoints", number + 1)),
            )
        saver = Saver(checkpoints, save_seconds, self._check)

        unsaid: Any = None

        def report(now: TrainState, history: History) -> None:
            nonlocal unsaid
            record = unsaid = history[-1]
            self._metrics.add(as_line(record))
            if keep_epochs is not None and record["epoch"] % keep_epochs == 0:
                file = f"{folder_of('epochs', number)}/epoch-{record['epoch']:06d}.npz"
                save_epoch(self.path(file), now, record["epoch"], within=self.folder)
            if record["epoch"] % say_every == 0 or record["epoch"] in (1, epochs):
                self._say_epoch(record, line)
                unsaid = None

        # The run says its epochs itself.
        more.setdefault("progress", "bar")
        listeners = [report, *([callbacks] if callable(callbacks) else callbacks)]
        try:
            reached = fit(
                net,
                loss,
                optimizer,
                train,
                epochs=epochs,
                batch_size=batch_size,
                key=key,
                callbacks=listeners,
                start=start,
                save=saver,
                save_every=EVERY,
                **more,
            )
            saver.flush()
        except BaseException:
            # Ctrl-C may have come while the last state was written; of two faults the first is told.
            with contextlib.suppress(DataError):
                saver.flush()
            raise
        finally:
            self._fits[-1] = False
        # Which epoch is the last is not known before a callback has stopped it.
        if unsaid is not None:
            self._say_epoch(unsaid, line)
        if reached.interrupted:
            raise KeyboardInterrupt(f"after step {reached.last.step}")
        params = reached.last.params
        for text in reached.advice():
            self.say(text)
        if reached.health:
            self.note(health=reached.advice())
        self.note(parameters=tree.size(params), digest=tree.digest(params))
        return reached

    def _named(self, validation: Any) -> str | None:
        """Return the name under which `data` noted a validation set, None if it did not."""
        known = self.about.get("data")
        if not isinstance(validation, Dataset) or not isinstance(known, dict):
            return None
        digest = validation.digest() if known else None
        return next((name for name, noted in known.items() if noted == digest), None)

    def _say_epoch(self, record: dict[str, Any], line: str | None) -> None:
        self.say(as_words(record) if line is None else line.format_map(record))

    def _take_up(self, start: Progress | None, skipped: list[str], *, last: bool) -> None:
        """Bring metrics.jsonl to where a checkpoint stands, that of the `last` fit that began."""
        for record in start.records if start is not None else ():
            self._metrics.add(as_line(record))
        if last:  # What follows an earlier one are the lines of the next, and right.
            self._metrics.cut()
        for damaged in skipped:
            self.say(f"passed over {damaged}")
        step = 0 if start is None else start.now.step
        if self.about.get("resumed"):
            self.about["resumed"][-1]["steps"].append(step)
            self.note()
        self.say(f"resumed at step {step}")

    def close(self) -> None:
        """Drop what metrics.jsonl holds of earlier and this run did not record again."""
        self._metrics.cut()

    def keep(
        self, net: Layer, now: TrainState, in_shape: Shape, *, codec: Codec | None = None
    ) -> dict[str, Any]:
        """Save what was trained, to be loaded again; return the network, its size and its digest.

        Args:
            net: The network.
            now: The state to save: its parameters and what it carries.
            in_shape: Shape of one example.
            codec: What its tokens stand for, or its columns: `Characters` or a `TableCodec`. Kept in
                codec.json, with which `python -m fnn.demo` takes texts and rows as they are.

        Raises:
            DataError: If the file system refuses.
        """
        path = self.path(MODEL)
        if codec is not None:
            self.path(CODEC)
            write_codec(self.folder, codec)
        try:
            save_model(path, net, now.params, now.state, in_shape, within=self.folder)
        except OptionError:  # A layer that no text can describe: the weights alone.
            save_tree(path, model_tree(now.params, now.state, in_shape), within=self.folder)
        size, digest = tree.size(now.params), tree.digest(now.params)
        kept = {"network": repr(net), "parameters": size, "digest": digest}
        # What was trained has its table already, unless another network is kept.
        seen = self._fits and self.about.get("network") == kept["network"]
        table = self.about.get("layers") if seen else network_table(net, in_shape)
        self.note(layers=table, **kept)
        return kept

    def evaluated(self, x: Any, predicted: Any, target: Any, *, shown: int = 40) -> None:
        """Save what a classifier said of its test set, for the report: evaluation.npz.

        Args:
            x: Examples (n, ...); `shown` of them are kept, wrongly classified ones first. Of a tuple
                of arrays only the first is kept.
            predicted: Classes (n,) as the network has them.
            target: Classes (n,) as they are.
            shown: How many examples to keep, at most.

        Raises:
            OptionError: If there is not one class per example.
            DataError: If the file system refuses.
        """
        x = np.asarray(named_arrays(x)[0][1] if isinstance(x, tuple) and named_arrays(x) else x)
        predicted, target = np.asarray(predicted), np.asarray(target)
        if not predicted.shape == target.shape == (len(x),):
            got = f"{predicted.shape} and {target.shape} for {len(x)} examples"
            raise OptionError(f"Run.evaluated: expected one class per example, got {got}")
        wrong, right = np.flatnonzero(predicted != target), np.flatnonzero(predicted == target)
        half = wrong[: max(shown // 2, shown - len(right))]
        index = np.sort(np.concatenate((half, right[: shown - len(half)])))
        saved = {"predicted": predicted, "target": target, "x": x[index], "index": index}
        save_tree(self.path(EVALUATION), saved, within=self.folder)

    def path(self, name: str) -> Path:
        """Return where the file `name` of this run goes; folders on the way are made.

        Raises:
            OptionError: If it would lie outside the run's folder.
            DataError: If there is a link of that name or on the way, or a pipe or the like, or if the
                file system refuses.
        """
        path = self.folder / name
        if not Path(os.path.normpath(path)).is_relative_to(Path(os.path.normpath(self.folder))):
            raise OptionError(f"Run.path: expected a name within {self.folder}, got {name!r}")
        # Folders on the way would bring a deleted one back.
        self._check()
        try:
            make_folder(path.parent, within=self.folder)
            present(path, within=self.folder)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error})") from None
        return path
