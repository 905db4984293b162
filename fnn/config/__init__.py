"""Configs: a frozen attrs class whose fields are flags of a command line and entries of run.json."""

from fnn.config.flags import C, config_from, option, parse
from fnn.config.records import plain

__all__ = ["C", "config_from", "option", "parse", "plain"]
