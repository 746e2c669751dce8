"""The network that tests of clusters run in: datagrams between its hosts, cuts, losses, what it leaves behind."""

import itertools
import select
import socket
import struct
import subprocess

import pytest

from namespaces import Network, require_network
from node import until

GROUP = "239.192.0.1"
PORT = 25_999


@pytest.fixture(scope="module")
def hosts():
    require_network()
    with Network(3) as network:
        yield network.hosts


@pytest.fixture
def network(hosts):
    network = hosts[0].network
    yield network
    network.heal()


@pytest.fixture
def sockets(network):
    """A socket of each host, all on one port, all in one multicast group."""
    made = [host.socket(PORT) for host in network.hosts]
    for one, host in zip(made, network.hosts):
        membership = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton(host.address))
        one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        one.setblocking(False)
    yield made
    for one in made:
        one.close()


_numbers = itertools.count()


def arrivals(sockets):
    """What arrives at which socket, until it has been quiet for a while: nothing on the way takes so long."""
    while ready := select.select(sockets, [], [], 0.05)[0]:
        for one in ready:
            data, source = one.recvfrom(100)
            yield sockets.index(one), data, source


def heard(sockets, sender, target, count=3):
    """Indexes of the other sockets that hear what is sent to `target`."""
    words = [b"%d" % next(_numbers) for _ in range(count)]
    for word in words:
        sockets[sender].sendto(word, (target, PORT))
    listeners = set()
    for index, data, source in arrivals(sockets):
        if data in words and index != sender:
            assert source == (hosts_address(sender), PORT)
            listeners.add(index)
    return listeners


def hosts_address(index):
    return f"10.77.0.{index + 1}"


def share(sockets, sender, listener, target, count=1000):
    """Which share of the datagrams sent arrives, sent in portions that fit the receiver's buffer."""
    there = 0
    for _ in range(count // 50):
        for _ in range(50):
            sockets[sender].sendto(b"x", (target, PORT))
        there += sum(index == listener for index, _, _ in arrivals(sockets))
    return there / count


def hears_all(sockets, network):
    """Whether all hear all; at first the kernel may still be learning neighbours."""
    return all(heard(sockets, a, network.hosts[b].address) == {b} for a, b in itertools.permutations(range(3), 2))


class TestDatagrams:
    def test_reach_one_host(self, network, sockets):
        until(lambda: hears_all(sockets, network), "all hosts hear each other")

    @pytest.mark.parametrize("target", ["10.77.0.255", "255.255.255.255", GROUP])
    def test_reach_all_hosts(self, network, sockets, target):
        for sender in range(3):
            until(lambda: heard(sockets, sender, target) == {0, 1, 2} - {sender}, f"{target} reaches the others")

    def test_of_the_same_host_reach_its_other_processes(self, network):
        host = network.hosts[0]
        with host.socket(PORT) as a, host.socket(PORT) as b, host.socket() as sender:
            sender.sendto(b"x", (network.broadcast, PORT))
            assert a.recv(10) == b"x" and b.recv(10) == b"x"


class TestFaults:
    def test_a_cut_link_carries_nothing_until_it_is_healed(self, network, sockets):
        until(lambda: hears_all(sockets, network), "all hosts hear each other")
        a, b, _ = network.hosts
        network.cut(a, b)
        network.cut(a, b)
        assert heard(sockets, 0, b.address) == set() and heard(sockets, 1, a.address) == set()
        for target in (GROUP, network.broadcast):
            assert heard(sockets, 0, target) == {2} and heard(sockets, 2, target) == {0, 1}
        network.heal(a, b)
        network.heal(a, b)
        assert hears_all(sockets, network)

    def test_a_link_can_be_cut_one_way(self, network, sockets):
        until(lambda: hears_all(sockets, network), "all hosts hear each other")
        a, b, _ = network.hosts
        network.cut(a, b, one_way=True)
        assert heard(sockets, 0, network.broadcast) == {2} and heard(sockets, 1, network.broadcast) == {0, 2}
        network.heal()
        assert heard(sockets, 0, network.broadcast) == {1, 2}

    @pytest.mark.parametrize("only, udp, tcp", [("udp", False, True), ("tcp", True, False)])
    def test_a_link_can_be_cut_for_one_protocol(self, network, sockets, only, udp, tcp):
        until(lambda: hears_all(sockets, network), "all hosts hear each other")
        a, b, _ = network.hosts
        network.cut(a, b, only=only)
        assert (heard(sockets, 0, b.address) == {1}) == udp
        with b.inside(lambda: socket.create_server((b.address, PORT))), a.inside(socket.socket) as client:
            client.settimeout(0.5)
            code = client.connect_ex((b.address, PORT))
            assert (code == 0) == tcp, code
        network.heal(a, b)
        assert hears_all(sockets, network)

    def test_hosts_can_be_split_and_isolated(self, network, sockets):
        a, b, c = network.hosts
        network.split([a], [b, c])
        assert [heard(sockets, i, GROUP) for i in range(3)] == [set(), {2}, {1}]
        network.heal()
        network.isolate(b)
        assert [heard(sockets, i, GROUP) for i in range(3)] == [{2}, set(), {0}]

    def test_a_lossy_link_loses_about_that_share(self, network, sockets):
        until(lambda: hears_all(sockets, network), "all hosts hear each other")
        a, b, _ = network.hosts
        network.lose(30, (a, b))
        # Within five standard deviations.
        assert 0.628 < share(sockets, 0, 1, b.address) < 0.772
        assert share(sockets, 1, 0, a.address, count=200) == 1
        network.lose(100)
        assert not heard(sockets, 1, a.address)
        network.cut(a, b)
        network.lose(0)
        assert heard(sockets, 0, network.broadcast) == {2}, "a cut outlives a loss"

    def test_an_unplugged_cable_is_noticed(self, network):
        host = network.hosts[2]

        def carrier():
            return "LOWER_UP" in host.run(["ip", "link", "show", "eth0"]).stdout

        until(carrier, "the cable is plugged in")
        network.unplug(host)
        until(lambda: not carrier(), "the host sees that its cable is out")
        network.plug(host)
        until(carrier, "the host sees its cable again")


def test_nothing_is_left_behind_even_by_a_test_that_fails():
    require_network()
    with pytest.raises(ZeroDivisionError), Network(2) as network:
        process = network.hosts[0].popen(["cat"], stdin=subprocess.PIPE)
        names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
        assert names.count(network.prefix) == 3
        raise ZeroDivisionError
    assert process.poll() is not None
    process.stdin.close()
    assert network.prefix not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
