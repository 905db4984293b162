"""Texts become functions: each once in a process, all new ones of a program at one go."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any

from fnn.compile.machine.loops import Code


class MissingError(Exception):
    """There is no machine code here: llvmlite is not installed, or does not know this machine."""


class Compiler:
    """What has been compiled in this process."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._known: dict[str, int] = {}
        self._engines: list[Any] = []
        self._target: Any = None
        self._process = os.getpid()

    def addresses(self, codes: Iterable[Code]) -> list[int]:
        """Return the address of each function.

        Raises:
            MissingError: If nothing can be compiled here.
        """
        if os.getpid() != self._process and self._lock.locked():
            raise MissingError("a fork came while another thread was compiling")
        if not threading.main_thread().is_alive():
            raise MissingError("the process ends")
        with self._lock:
            return self._addresses(list(codes))

    def _addresses(self, codes: list[Code]) -> list[int]:
        new = {code.text: code for code in codes if code.text not in self._known}
        if new:
            declared = sorted(frozenset().union(*(code.intrinsics for code in new.values())))
            bodies = [text.replace("@F", f"@f{i}") for i, text in enumerate(new)]
            engine = self._engine("\n".join([*declared, *bodies]))
            found = [engine.get_function_address(f"f{i}") for i in range(len(new))]
            self._engines.append(engine)
            self._known |= dict(zip(new, found, strict=True))
        return [self._known[code.text] for code in codes]

    def _engine(self, text: str) -> Any:
        binding, target = self._started()
        module = binding.parse_assembly(text)
        machine = target.create_target_machine(
            cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten(), opt=2
        )
        engine = binding.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        return engine

    def _started(self) -> tuple[Any, Any]:
        try:
            import llvmlite.binding as binding
        except ImportError as error:
            raise MissingError('machine code needs llvmlite: pip install "fnn[fast]"') from error
        if self._target is None:
            try:
                binding.initialize_native_target()
                binding.initialize_native_asmprinter()
                self._target = binding.Target.from_default_triple()
            except RuntimeError as error:
                raise MissingError(f"llvmlite does not know this machine: {error}") from error
        return binding, self._target


COMPILER = Compiler()
