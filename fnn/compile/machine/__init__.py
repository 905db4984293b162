"""Machine code: programs as loops that read and write every number once (extra "fast": llvmlite)."""
