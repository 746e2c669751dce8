#!/usr/bin/env python3
"""What `make optimized` has the compiler take for a usual day: reads and writes, alone and pipelined, of one node on
either backend and of three nodes, asked as clients do that know the owners and as those do that don't."""

import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import clusters, servers  # noqa: E402
from harness.load import Load, fill, measure  # noqa: E402

# Counts need no precision, and the build that counts is slow.
SECONDS = 2
GET = Load(keys=100_000)
PUT = GET.but(workload="put")
ALONE = [GET, PUT, GET.but(pipeline=16), PUT.but(pipeline=16), GET.but(connections=1), PUT.but(connections=256)]
TOGETHER = [load.but(to_owners=to_owners) for to_owners in (True, False)
            for load in (PUT, PUT.but(connections=256), PUT.but(pipeline=16), GET)]


def main():
    with ExitStack() as stack:
        for start, loads in ((servers.kvd, ALONE), (lambda: servers.kvd(io="epoll"), ALONE),
                             (clusters.kvd_nodes, TOGETHER)):
            server = stack.enter_context(start())
            fill(server, GET)
            for load in loads:
                measure(server, load, SECONDS)


if __name__ == "__main__":
    main()
