"""Networks of hosts of their own, and clusters on them, for modules that say how many hosts they need: `HOSTS = 3`."""

import pytest

from cluster import Cluster
from namespaces import Network, require_network


@pytest.fixture(scope="module")
def network(request):
    """As many hosts as the module says."""
    require_network()
    with Network(request.module.HOSTS) as network:
        yield network


@pytest.fixture
def cluster(network, io):
    """No node yet: `cluster.start()` starts some. The network is whole again afterwards."""
    cluster = Cluster(network, io)
    yield cluster
    cluster.stop()
    network.heal()
