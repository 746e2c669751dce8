"""Every case, in the order in which they run. Each has a name, a title, and a `run` that returns a Result."""

from . import cores, large, latency, memory, throughput

CASES = [case for module in (throughput, large, latency, memory, cores) for case in module.CASES]
