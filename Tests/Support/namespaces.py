"""Hosts on a network of their own: namespaces on a bridge, whose links can be cut, one way too, and made lossy.

    with Network(3) as network:
        a, b, c = network.hosts
        process = a.popen([...])
        network.cut(a, b, one_way=True)

Every name begins with a prefix that is unique to this network, and all of it is removed at the end: the processes
started in it by their ids, the namespaces (and with them cables, bridge and filters) by their names. Nothing outside is
touched: the bridge is in a namespace of its own, so the machine's network isn't involved.
"""

import ctypes
import itertools
import os
import shutil
import signal
import socket
import subprocess
import threading

import pytest

_numbers = itertools.count(1)
# Of <linux/sched.h>.
CLONE_NEWNET = 0x40000000


# What a link can be cut for, and the names of the sets that hold such links.
CUTS = {None: "cut", "udp": "cut_udp", "tcp": "cut_tcp"}
SETS = [*CUTS.values(), "lossy"]
RULES = [f"add rule bridge links forward {'' if only is None else f'ip protocol {only} '}iifname . oifname @{name} drop"
         for only, name in CUTS.items()]


class NotPermitted(Exception):
    """This machine lacks a tool or a right; the sentence says which."""


def _run(*command, input=None):
    try:
        done = subprocess.run(command, input=input, capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        raise NotPermitted(f"{command[0]} is not installed") from None
    if done.returncode:
        raise NotPermitted(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def refusal():
    """Why there can be no such network here; None where there can."""
    for tool in ("ip", "nft"):
        if not shutil.which(tool, path=_path()):
            return f"{tool} is not installed"
    try:
        with Network(2) as network:
            network.cut(*network.hosts)
    except NotPermitted as error:
        return str(error)
    return None


def _path():
    """The tools are where only root's PATH may look."""
    return os.environ.get("PATH", "") + os.pathsep + "/usr/sbin" + os.pathsep + "/sbin"


def _tool(name):
    return shutil.which(name, path=_path()) or name


class Host:
    """One namespace with an interface `eth0`."""

    def __init__(self, network, number):
        self.network = network
        self.namespace = f"{network.prefix}h{number}"
        # The end of its cable at the bridge, at most 15 characters.
        self.port = f"p{number}"
        self.address = f"{network.subnet}.{number}"
        self._processes = []

    def __repr__(self):
        return self.address

    def popen(self, command, **options):
        """Starts a process in this host; it is killed with the network at the latest."""
        process = subprocess.Popen([_tool("ip"), "netns", "exec", self.namespace, *map(str, command)], **options)
        self._processes.append(process)
        return process

    def run(self, command, seconds=20):
        """Runs a command in this host to its end."""
        return subprocess.run([_tool("ip"), "netns", "exec", self.namespace, *map(str, command)],
                              capture_output=True, text=True, timeout=seconds)

    def inside(self, function):
        """Calls a function in this host, and returns what it returns: a socket it makes stays in the host for ever."""
        return self.network._inside(self.namespace, function)

    def socket(self, port=0, address="0.0.0.0"):
        """A UDP socket of this host that may broadcast and multicast, and hears multicast groups on `eth0`."""
        def make():
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            made.bind((address, port))
            made.settimeout(5)
            return made
        return self.inside(make)

    def end_processes(self):
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(20)
        self._processes.clear()


class Network:
    """So many hosts on one bridge, connected at first."""

    def __init__(self, count, subnet="10.77.0"):
        assert 1 <= count <= 250
        self.prefix = f"kvd-{os.getpid()}-{next(_numbers)}-"
        self.subnet = subnet
        self.switch = f"{self.prefix}sw"
        self.broadcast = f"{subnet}.255"
        self.hosts = []
        self._namespaces = []
        try:
            self._build(count)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _build(self, count):
        self._add_namespace(self.switch)
        # Without snooping a bridge floods multicast, as a small switch does.
        self._ip(self.switch, "link add br0 type bridge mcast_snooping 0 forward_delay 0", "link set br0 up")
        for number in range(1, count + 1):
            host = Host(self, number)
            self._add_namespace(host.namespace)
            self._ip(
                host.namespace,
                f"link add eth0 type veth peer name {host.port} netns {self.switch}",
                "link set lo up", f"addr add {host.address}/24 brd + dev eth0", "link set eth0 up",
                # Without a default route, limited broadcast and multicast need to be told where to go.
                "route add 224.0.0.0/4 dev eth0", "route add 255.255.255.255/32 dev eth0")
            self._ip(self.switch, f"link set {host.port} master br0", f"link set {host.port} up")
            self.hosts.append(host)
        # The filter has sets of directed links: cut for everything, for one protocol, and lossy.
        self._nft("\n".join(["add table bridge links"]
                            + [f"add set bridge links {name} {{ typeof iifname . oifname; }}" for name in SETS]
                            + ["add chain bridge links forward { type filter hook forward priority 0; }"] + RULES))

    def _add_namespace(self, name):
        _run(_tool("ip"), "netns", "add", name)
        self._namespaces.append(name)

    def _ip(self, namespace, *commands):
        _run(_tool("ip"), "-n", namespace, "-batch", "-", input="\n".join(commands) + "\n")

    def _nft(self, script):
        _run(_tool("ip"), "netns", "exec", self.switch, _tool("nft"), "-f", "-", input=script)

    # Faults. Each is idempotent, and takes effect before the call returns.

    def cut(self, a, b, one_way=False, only=None):
        """Drops what goes from `a` to `b`, and unless `one_way`, from `b` to `a` as well; `only` "udp" or "tcp"."""
        self._change("add", CUTS[only], a, b, one_way)

    def heal(self, a=None, b=None, one_way=False):
        """Undoes cuts between two hosts, or all cuts and losses."""
        if a is None:
            self._nft("\n".join(["flush chain bridge links forward"]
                                + [f"flush set bridge links {name}" for name in SETS] + RULES))
            return
        for name in CUTS.values():
            # Deleting what isn't there would fail; adding it first makes it be there.
            self._change("add", name, a, b, one_way)
            self._change("delete", name, a, b, one_way)

    def split(self, *groups):
        """Cuts every link between hosts of different groups."""
        for one, other in itertools.combinations(groups, 2):
            for a, b in itertools.product(one, other):
                self.cut(a, b)

    def isolate(self, host):
        """Cuts a host off from all others."""
        self.split([host], [other for other in self.hosts if other is not host])

    def lose(self, percent, *pairs):
        """Drops this share of packets at random, from `a` to `b` for each pair (a, b), or on all links; 0 ends it."""
        pairs = pairs or list(itertools.permutations(self.hosts, 2))
        elements = ", ".join(f'"{a.port}" . "{b.port}"' for a, b in pairs)
        chance = "" if percent >= 100 else f"numgen random mod 100 < {int(percent)} "
        rule = f"add rule bridge links forward iifname . oifname @lossy {chance}drop"
        lossy = [f"add element bridge links lossy {{ {elements} }}", rule] if percent else []
        self._nft("\n".join(["flush chain bridge links forward", "flush set bridge links lossy"] + RULES + lossy))

    def drop_group(self, group):
        """Drops what goes to an IPv6 multicast group, as most clouds do; until `heal`."""
        self._nft(f"add rule bridge links forward ip6 daddr {group} drop")

    def slow(self, host, rate=None):
        """Lets what goes to a host pass at this rate only, as in "2mbit"; without one, at full speed again."""
        place = ["dev", host.port, "root"]
        shape = ["replace", *place, "tbf", "rate", rate, "burst", "16k", "limit", "64k"] if rate else ["del", *place]
        _run(_tool("ip"), "netns", "exec", self.switch, _tool("tc"), "qdisc", *shape)

    def unplug(self, host):
        """Takes a host's cable out: unlike with `cut`, the host sees that (no carrier)."""
        self._ip(self.switch, f"link set {host.port} down")

    def plug(self, host):
        self._ip(self.switch, f"link set {host.port} up")

    def _change(self, verb, name, a, b, one_way):
        pairs = [(a, b)] if one_way else [(a, b), (b, a)]
        elements = ", ".join(f'"{x.port}" . "{y.port}"' for x, y in pairs)
        self._nft(f"{verb} element bridge links {name} {{ {elements} }}")

    def _inside(self, namespace, function):
        """Calls a function on a thread that entered a namespace, since a thread can't be trusted to come back."""
        outcome = {}

        def work():
            try:
                with open(f"/run/netns/{namespace}") as file:
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.setns(file.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), f"no way into {namespace}")
                outcome["result"] = function()
            except BaseException as error:
                outcome["error"] = error

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if "error" in outcome:
            raise outcome["error"]
        return outcome["result"]

    def close(self):
        """Ends the processes and removes the namespaces; everything else goes with them."""
        try:
            for host in self.hosts:
                host.end_processes()
        finally:
            for name in self._namespaces:
                subprocess.run([_tool("ip"), "netns", "del", name], capture_output=True, timeout=20)
            self._namespaces.clear()


_refusal = []


def require_network():
    """Skips the test where there can be no such network, saying why."""
    if not _refusal:
        _refusal.append(refusal())
    if _refusal[0]:
        pytest.skip(f"this machine refuses network namespaces ({_refusal[0]})")
