"""Real files: a tree of some thousand is stored, read back and compared, while another client writes and deletes."""

import hashlib
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from listing import listed

MOST_FILES, MOST_BYTES, LARGEST = 5_000, 300 << 20, 64 << 20


def corpus():
    """Files of /usr/share that every Debian machine has, in a fixed order, up to the bounds above."""
    files, size = [], 0
    for tree in ("/usr/share/doc", "/usr/share/perl", "/usr/share/zoneinfo", "/usr/share/locale", "/usr/include"):
        for folder, folders, names in os.walk(tree):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
                    continue
                size += path.stat().st_size
                if len(files) >= MOST_FILES or size > MOST_BYTES:
                    return files
                files.append(path)
    return files


@pytest.mark.timeout(300)
def test_a_real_tree_survives_while_another_client_overwrites_and_deletes(start):
    files = corpus()
    assert len(files) > 500, "too few files on this machine for a meaningful test"
    node = start(memory="1GiB")
    digests = {}
    stop = threading.Event()
    failures = []

    def store(path):
        data = path.read_bytes()
        with node.connect(timeout=60) as connection:
            answer = connection.call("PUT", "/v1/maps/corpus" + quote(str(path)), data,
                                     {"Content-Type": f"text/x-{path.suffix[1:] or 'plain'}" if path.suffix.isascii()
                                      and path.suffix[1:].isalnum() else "application/octet-stream"})
        assert answer.status == 201, (path, answer.status)
        digests[path] = hashlib.sha256(data).digest()

    def check(path):
        with node.connect(timeout=60) as connection:
            answer = connection.call("GET", "/v1/maps/corpus" + quote(str(path)))
        assert answer.status == 200, path
        assert hashlib.sha256(answer.body).digest() == digests[path], path

    def churn():
        """Overwrites and deletes keys of its own, in the same map and in another, and checks what it reads."""
        chance, mine = random.Random(3), {}
        try:
            with node.connect(timeout=60) as connection:
                while not stop.is_set():
                    target = chance.choice(["/v1/maps/corpus/churn/", "/churn-"]) + str(chance.randrange(500))
                    action = chance.random()
                    if action < 0.5:
                        data = chance.randbytes(chance.choice([0, 10, 1000, 50_000]))
                        assert connection.call("PUT", target, data).status == (200 if target in mine else 201)
                        mine[target] = data
                    elif action < 0.7:
                        status = connection.call("DELETE", target).status
                        assert status == (204 if mine.pop(target, None) is not None else 404)
                    else:
                        answer = connection.call("GET", target)
                        assert (answer.body if answer.status == 200 else None) == mine.get(target)
        except Exception as failure:  # reported by the thread that waits for this one
            failures.append(failure)

    other = threading.Thread(target=churn)
    other.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(store, files))
            list(pool.map(check, files))
            # Once more in another order, after the churn has made the log be compacted.
            list(pool.map(check, random.Random(4).sample(files, len(files))))
    finally:
        stop.set()
        other.join()
    assert not failures, failures[0]

    stored = {"/" + name for name in listed(node, "/v1/maps/corpus", limit=1000)}
    assert {str(path) for path in files} == {name for name in stored if not name.startswith("/churn/")}
