"""Every case, in the order in which they run. Each has a name, a title, and a `run` that returns a Result."""

from . import check, cores, joining, large, latency, memory, micro, records, replicated, throughput

MODULES = (throughput, replicated, large, latency, joining, memory, records, cores, micro, check)
CASES = [case for module in MODULES for case in module.CASES]
