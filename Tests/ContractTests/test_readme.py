"""The console blocks of README.md do what they show: every `$ curl` line is run, and prints what stands below it."""

import re
import subprocess
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"


def commands(text):
    """The command lines of all console blocks, each with the output that the document promises."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def mismatch(command, promised, node):
    """What a command printed, if that isn't what was promised; `…` stands for anything within a line."""
    line = command.replace("http://localhost:3000", node.url).replace("curl ", "curl -sS --max-time 20 ", 1)
    result = subprocess.run(["bash", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    printed = result.stdout.replace("\r\n", "\n").replace("\r", "") + result.stderr
    pattern = ".*".join(re.escape(piece) for piece in promised.rstrip("\n").split("…"))
    return None if re.fullmatch(pattern, printed.rstrip("\n")) else f"$ {command}\n{printed}"


def test_the_readme_prints_what_it_shows(start):
    node = start()
    found = commands(README.read_text())
    assert len(found) > 20
    wrong = [text for command, promised in found if (text := mismatch(command, promised, node))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("promised", ["ko", "", "ok\nok", "o…x"])
def test_a_wrong_promise_is_found(node, promised):
    command = "curl http://localhost:3000/livez"
    assert mismatch(command, "o…\n", node) is None
    assert mismatch(command, promised, node) == "$ curl http://localhost:3000/livez\nok\n"
