"""Texts become functions: each once in a process, all new ones of a program at one go."""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Iterable
from typing import Any

import attrs

from fnn.compile.machine.loops import Code


class MissingError(Exception):
    """There is no machine code here: llvmlite is not installed, or does not know this machine."""


@attrs.frozen(eq=False, weakref_slot=True)
class Function:
    """A function in memory, for as long as somebody holds this."""

    address: int
    engine: Any


class Compiler:
    """What has been compiled in this process, and is still held by somebody."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._known: weakref.WeakValueDictionary[bytes, Function] = weakref.WeakValueDictionary()
        self._target: Any = None
        self._process = os.getpid()

    def functions(self, codes: Iterable[Code]) -> list[Function]:
        """Return the functions; equal ones are one.

        Raises:
            MissingError: If nothing can be compiled here.
        """
        if os.getpid() != self._process and self._lock.locked():
            raise MissingError("a fork came while another thread was compiling")
        if not threading.main_thread().is_alive():
            raise MissingError("the process ends")
        with self._lock:
            return self._functions(list(codes))

    def _functions(self, codes: list[Code]) -> list[Function]:
        marks = [hashlib.blake2b(code.text.encode(), digest_size=16).digest() for code in codes]
        found = {mark: self._known.get(mark) for mark in marks}
        new = {mark: code for mark, code in zip(marks, codes, strict=True) if found[mark] is None}
        if new:
            declared = sorted(frozenset().union(*(code.intrinsics for code in new.values())))
            bodies = [code.text.replace("@F", f"@f{i}") for i, code in enumerate(new.values())]
            engine = self._engine("\n".join([*declared, *bodies]))
            for i, mark in enumerate(new):
                found[mark] = self._known[mark] = Function(engine.get_function_address(f"f{i}"), engine)
        return [each for each in map(found.get, marks) if each is not None]

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
