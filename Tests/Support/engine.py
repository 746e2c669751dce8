"""A container engine of the test's own, where none is installed: Debian's packages, unpacked and started by hand.

Nothing is installed and nothing pulled. The daemons run in a network namespace that has no way out, keep everything
in a folder under .build, and end with the test. The base image is made of Debian's packages, too.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from namespaces import NotPermitted, _path, _tool
from node import ROOT, lasts

# What is unpacked to run containers, and what the base image consists of.
ENGINE_PACKAGES = ["docker.io", "containerd", "runc"]
BASE_PACKAGES = ["libc6", "libgcc-s1", "libstdc++6", "dash"]


def _run(*command, seconds=60, **options):
    try:
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=seconds, **options)
    except FileNotFoundError:
        raise NotPermitted(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise NotPermitted(f"{' '.join(map(str, command))} took longer than {seconds} s") from None
    if done.returncode:
        raise NotPermitted(f"{' '.join(map(str, command))}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def _unpacked(name, packages):
    """The folder into which these packages were unpacked, now or by an earlier test."""
    folder = ROOT / ".build/container" / name
    if folder.exists():
        return folder
    for tool in ("apt-get", "dpkg"):
        if not shutil.which(tool):
            raise NotPermitted(f"no container engine is installed, and there is no {tool} to get Debian's")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        try:
            _run("apt-get", "download", *packages, cwd=work, seconds=120)
        except NotPermitted:
            # The package lists of a fresh machine are empty or old.
            _run("apt-get", "update", seconds=120)
            _run("apt-get", "download", *packages, cwd=work, seconds=120)
        made = Path(work, "tree")
        for package in sorted(Path(work).glob("*.deb")):
            _run("dpkg", "-x", package, made)
        made.rename(folder)
    return folder


class Engine:
    """containerd and dockerd, and their client."""

    def __init__(self):
        if os.geteuid() != 0:
            raise NotPermitted("containers need root")
        self._folder = _unpacked("engine", ENGINE_PACKAGES)
        self.compose_command = Path(sys.prefix, "bin/docker-compose")
        if not self.compose_command.exists():
            raise NotPermitted("docker-compose is not installed (Tests/requirements.txt)")
        # Sockets have short names.
        self._work = tempfile.mkdtemp(prefix="kvd-engine-")
        self.namespace = f"kvd-engine-{os.getpid()}"
        self._daemons = []
        self.environment = {
            **os.environ, "PATH": f"{self._folder}/usr/sbin:{self._folder}/usr/bin:{_path()}",
            "DOCKER_HOST": f"unix://{self._work}/docker.sock", "DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": self._work,
        }
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self):
        _run(_tool("ip"), "netns", "add", self.namespace)
        _run(_tool("ip"), "-n", self.namespace, "link", "set", "lo", "up")
        work = self._work
        Path(work, "containerd.toml").write_text(
            f'version = 2\nroot = "{work}/images"\nstate = "{work}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{work}/containerd.sock"\n')
        self._daemon("containerd", "-c", f"{work}/containerd.toml")
        self._until(lambda: Path(work, "containerd.sock").exists(), "containerd")
        self._daemon(
            "dockerd", "--containerd", f"{work}/containerd.sock", "--host", self.environment["DOCKER_HOST"],
            "--data-root", f"{work}/data", "--exec-root", f"{work}/exec", "--pidfile", f"{work}/docker.pid",
            "--storage-driver", "vfs", "--bridge", "none", "--iptables=false", "--ip6tables=false",
            "--userland-proxy-path", self._folder / "usr/sbin/docker-proxy")
        self._until(lambda: self._answers("version"), "dockerd")

    def _daemon(self, name, *arguments):
        log = open(Path(self._work, f"{name}.log"), "w")
        # Not by `ip netns exec`: it mounts /sys anew, without the control groups that are mounted below it.
        enters = [_tool("nsenter"), f"--net=/run/netns/{self.namespace}", "unshare", "--mount", "--propagation=slave",
                  name]
        self._daemons.append(subprocess.Popen(
            [*enters, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=self.environment, start_new_session=True))

    def _until(self, condition, name):
        deadline = time.monotonic() + 20
        while not condition():
            if time.monotonic() > deadline or self._daemons[-1].poll() is not None:
                log = Path(self._work, f"{name}.log").read_text()
                raise NotPermitted(f"{name} doesn't start here: {log[-500:]}")
            lasts(0.1)

    def _answers(self, *arguments):
        return subprocess.run(["docker", *arguments], capture_output=True, env=self.environment).returncode == 0

    def docker(self, *arguments, seconds=60, **options):
        """Runs a command of the client; returns what it says, on either stream."""
        done = subprocess.run(["docker", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=seconds, env=self.environment, **options)
        assert done.returncode == 0, f"docker {arguments}: {done.stdout}"
        return done.stdout

    def compose(self, *arguments, seconds=60, environment=None):
        done = subprocess.run(
            [str(self.compose_command), "-f", ROOT / "docker/compose.yaml", *map(str, arguments)], capture_output=True,
            text=True, timeout=seconds, env={**self.environment, **(environment or {})})
        assert done.returncode == 0, f"compose {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def image(self, name, tree):
        """Makes a folder an image of one layer."""
        with subprocess.Popen(["tar", "-C", str(tree), "-c", "."], stdout=subprocess.PIPE) as tar:
            self.docker("import", "-", name, stdin=tar.stdout)

    def base(self, name):
        """Makes an image of the few of Debian's packages that kvd needs."""
        self.image(name, _unpacked("base", BASE_PACKAGES))

    def curl(self, *arguments):
        """What a user of the machine that publishes the ports sees."""
        done = subprocess.run([_tool("ip"), "netns", "exec", self.namespace, "curl", "-sS", "--max-time", "10",
                               *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self):
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        subprocess.run([_tool("ip"), "netns", "del", self.namespace], capture_output=True)
        shutil.rmtree(self._work, ignore_errors=True)
